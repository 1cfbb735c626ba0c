package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/failure"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/ssh"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/verify"
	"github.com/org/imagebuild-action/internal/vm"
)

// testFlags are what the test command can be told.
type testFlags struct {
	template, user, keyFile, firmware, failureDir, accel string
	commands                                             []string
	cloudInit, network, console, asJSON                  bool
	timeout                                              time.Duration
}

func (a *app) testCommand() *cobra.Command {
	var f testFlags
	var in inputs
	c := &cobra.Command{
		Use:   "test ARTIFACT...",
		Short: "Boot a box, OVA or disk image under its target's devices",
		Long: `Checks that the file is whole, unpacks the disk from it, boots it under devices
close to the ones that it was made for, reaches it over SSH and runs tests in
it: the template's, or the commands that you give. The file is never changed.
Takes what imagebuild wrote and anyone's Vagrant box, OVA, qcow2, VMDK or raw disk.

Vagrant boxes are entered with Vagrant's public key. Everything else gets a key
for this one boot from outside, through systemd's credentials (systemd 252 or
newer), or through cloud-init, or with --ssh-user and --ssh-key.`,
		Example: `  imagebuild test out/golden-1.0.0-virtualbox-amd64.box
  imagebuild test --template . out/*.ova
  imagebuild test --command 'nginx -t' --ssh-user admin --ssh-key id_ed25519 vendor.qcow2`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.testArtifacts(c.Context(), args, f, in) },
	}
	flags := c.Flags()
	flags.StringVarP(&f.template, "template", "t", "", "run the test steps of this template")
	flags.StringArrayVarP(&f.commands, "command", "c", nil, "a shell command that must succeed in the guest (repeatable)")
	flags.StringVar(&f.user, "ssh-user", "", "account to log in to; needs sudo without a password, unless it is root")
	flags.StringVar(&f.keyFile, "ssh-key", "", "private key for the account")
	flags.BoolVar(&f.cloudInit, "cloud-init", false, "pass the key in a cloud-init seed disk")
	flags.StringVar(&f.firmware, "firmware", "", "boot under bios or uefi instead of what the artifact says")
	flags.StringVar(&f.accel, "accel", "auto", "auto, kvm or tcg")
	flags.BoolVar(&f.network, "network", false, "let the guest reach the network")
	flags.BoolVar(&f.console, "console", false, "show the serial console")
	flags.DurationVar(&f.timeout, "timeout", verify.DefaultBootTimeout, "the longest that the boot may take")
	flags.StringVar(&f.failureDir, "failure-dir", "failure", "folder for screen, console and reproducing command of a failed boot")
	flags.StringArrayVar(&in.vars, "var", nil, "set a variable of the template, as name=value (repeatable)")
	flags.StringSliceVarP(&in.platforms, "platform", "p", nil, "the template's platform whose tests to run (default: its first)")
	flags.BoolVar(&f.asJSON, "json", false, "print the results as JSON")
	_ = c.RegisterFlagCompletionFunc("firmware", cobra.FixedCompletions([]string{"bios", "uefi"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("accel", cobra.FixedCompletions([]string{"auto", "kvm", "tcg"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.MarkFlagFilename("ssh-key")
	_ = c.MarkFlagDirname("failure-dir")
	return c
}

func (a *app) testArtifacts(ctx context.Context, artifacts []string, f testFlags, in inputs) error {
	request, err := a.testRequest(ctx, f, in)
	if err != nil {
		return err
	}
	for _, artifact := range artifacts {
		if _, err := os.Stat(artifact); err != nil {
			return fault.Wrap(fault.Input, err)
		}
	}
	reporter := a.reporter()
	var results []verify.Result
	var errs []error
	for _, artifact := range artifacts {
		request := request
		request.Artifact = artifact
		request.FailureDir = filepath.Join(f.failureDir, filepath.Base(artifact))
		err := report.Do(reporter, filepath.Base(artifact), func(task report.Task) error {
			result, err := verify.Boot(ctx, request, task)
			results = append(results, result)
			if err != nil && result.Reproduce != "" { // there is a bundle
				err = failure.Write(request.FailureDir, failure.Cause{Err: err, Secrets: a.secrets})
			}
			return err
		})
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	a.stopReport()
	if f.asJSON {
		errs = append(errs, printJSON(a, results))
	} else {
		for i, r := range results {
			if errs[i] == nil {
				fmt.Fprintf(a.Stdout, "ok  %s  booted in %.0f s (%s), %s\n", r.Artifact, r.BootSeconds, r.Accel, count(len(r.Tests), "test"))
			}
		}
	}
	return errors.Join(errs...)
}

// testRequest is what all artifacts are asked alike.
func (a *app) testRequest(ctx context.Context, f testFlags, in inputs) (verify.Request, error) {
	dir, _ := a.LookupEnv("TMPDIR")
	request := verify.Request{
		Hardware: target.Hardware{Firmware: target.Firmware(f.firmware)}, Accel: vm.Accel(f.accel),
		Access:  entry.Access{User: f.user, CloudInit: f.cloudInit},
		Secrets: a.secrets, Network: f.network, Console: f.console, BootTimeout: f.timeout, Dir: dir,
	}
	if dir == "" {
		request.Dir = "/var/tmp" // a disk may be large, and /tmp may be memory
	}
	switch f.firmware {
	case "", "bios", "uefi":
	default:
		return request, fault.Errorf(fault.Input, "--firmware %q: want bios or uefi", f.firmware)
	}
	if f.keyFile != "" {
		text, err := os.ReadFile(f.keyFile)
		if err != nil {
			return request, fault.Errorf(fault.Input, "--ssh-key: %w", err)
		}
		key, err := ssh.ParseKey(text)
		if err != nil {
			return request, fault.Errorf(fault.Input, "--ssh-key %s: %w", f.keyFile, err)
		}
		request.Access.Keys = []gossh.Signer{key}
	}
	if f.template != "" {
		path, err := templateArgument([]string{f.template})
		if err != nil {
			return request, err
		}
		options, err := a.options([]string{path}, in)
		if err != nil {
			return request, err
		}
		if request.Tests, err = build.Tests(ctx, options); err != nil {
			return request, err
		}
	}
	for _, command := range f.commands {
		request.Tests = append(request.Tests, commandTest(command))
	}
	return request, nil
}

// commandTest runs one shell command as a test.
func commandTest(command string) verify.Test {
	return verify.Test{Name: headline(command), Run: func(ctx context.Context, g guest.Guest, task report.Task) error {
		lines := run.LineWriter(task.Line)
		err := g.Run(ctx, guest.Command{Argv: []string{"/bin/sh", "-c", command}, Stdout: lines, Stderr: lines})
		_ = lines.Close() // never fails
		return fault.Wrap(fault.Guest, err)
	}}
}

// headline is what a command is called, before every line that it prints: its
// first line, or the beginning of that.
func headline(command string) string {
	const most = 60 // characters
	first, rest, _ := strings.Cut(strings.TrimSpace(command), "\n")
	if runes := []rune(first); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	if strings.TrimSpace(rest) != "" {
		return first + " ..."
	}
	return first
}
