// Command outer is an action's process for the tests: outside it re-runs itself
// in a sibling, inside it does what its first argument says.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/org/imagebuild-action/internal/container"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if g, sibling := container.Granted(os.Environ()); sibling {
		os.Exit(inside(ctx, g))
	}
	if os.Args[1] == "sweep" {
		n, err := container.Sweep(ctx, "", os.Getenv("RUN_ID"))
		fmt.Println(n, err)
		return
	}
	code, err := container.Rerun(ctx, container.Request{
		RunID: os.Getenv("RUN_ID"), Argv: os.Args, Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr,
		Devices: []string{os.Getenv("DEVICE")},
	})
	if err != nil {
		var refused *container.Refused
		fmt.Fprintln(os.Stderr, "refused:", errors.As(err, &refused), err)
		code = max(code, 99)
	}
	os.Exit(code)
}

func inside(ctx context.Context, g *container.Grant) int {
	switch os.Args[1] {
	case "report":
		_ = json.NewEncoder(os.Stdout).Encode(g)
		if f, err := os.OpenFile(os.Getenv("DEVICE"), os.O_RDWR, 0); err == nil {
			fmt.Println("device opened")
			_ = f.Close()
		} else {
			fmt.Println(err)
		}
		fmt.Println("mount:", syscall.Mount("tmpfs", "/mnt", "tmpfs", 0, ""))
		fmt.Println("secret:", os.Getenv("INPUT_SECRET"))
		fmt.Fprintln(os.Stderr, "on stderr")
		fmt.Println("written:", os.WriteFile("from-sibling", nil, 0o644))
		return 5
	case "wait":
		fmt.Println("ready")
		ctx, cancel := container.Tether(ctx, os.Stdin)
		defer cancel()
		<-ctx.Done()
		fmt.Println("stopping")
		return 130
	case "stubborn":
		signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Hour)
		return 0
	}
	cmd := exec.CommandContext(ctx, os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode()
}
