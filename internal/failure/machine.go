package failure

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/run"
)

// Machine is a virtual machine that failed, and may be running still.
type Machine interface {
	// Screendump writes what the screen shows to a new file, as PNG.
	Screendump(ctx context.Context, path string) error
}

// Remains is what is left of a machine besides its screen.
type Remains struct {
	Work      string // a folder that the machine may write to
	SerialLog string // path of its console's log; empty: there is none
	Script    string // commands that start it again, without the first line
	Secrets   *redact.Set
}

// Kept are the files of a machine in a bundle; what could not be kept is empty.
type Kept struct {
	Screen, SerialLog, Reproduce string
}

// The bounds of what is kept: a machine in trouble may not answer, and a
// console may have been written to for hours.
const (
	screenLimit = 20 * time.Second
	maxSerial   = 16 << 20 // bytes
	maxScreen   = 32 << 20 // bytes
)

// KeepMachine adds a machine to the bundle, in a folder of its own: its last
// screen, its console, and a script that starts it again. It keeps what it can
// and returns why it could not keep the rest.
func KeepMachine(ctx context.Context, dir string, m Machine, r Remains) (Kept, error) {
	var kept Kept
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return kept, run.Explain(err)
	}
	var errs []error
	keep := func(path *string, name string, err error) {
		if errs = append(errs, err); err == nil {
			*path = filepath.Join(dir, name)
		}
	}
	// QEMU writes into our own folder, with its own rights; what it made is
	// then copied.
	screen := filepath.Join(r.Work, ScreenFile)
	limited, cancel := context.WithTimeout(ctx, screenLimit)
	err := m.Screendump(limited, screen)
	cancel()
	if err == nil {
		err = copyScreen(filepath.Join(dir, ScreenFile), screen)
	}
	keep(&kept.Screen, ScreenFile, err)
	if r.SerialLog != "" {
		keep(&kept.SerialLog, SerialFile, copySerial(filepath.Join(dir, SerialFile), r.SerialLog, r.Secrets))
	}
	script := "#!/bin/sh\n# Starts the machine again, with its serial console on the terminal.\nset -e\n" + r.Script
	err = place(filepath.Join(dir, ScriptFile), []byte(script))
	if err == nil {
		err = os.Chmod(filepath.Join(dir, ScriptFile), 0o755)
	}
	keep(&kept.Reproduce, ScriptFile, err)
	return kept, errors.Join(errs...)
}

// KeepConsole adds what the console of a machine elsewhere said, in a folder of
// its own.
func KeepConsole(dir string, text []byte, secrets *redact.Set) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return run.Explain(err)
	}
	return writeSerial(filepath.Join(dir, SerialFile), bytes.NewReader(text), secrets)
}

// copyScreen copies a picture, which has to look like one.
func copyScreen(to, from string) error {
	content, err := readLimited(from)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(content, []byte("\x89PNG\r\n\x1a\n")) {
		return fmt.Errorf("the screen is no PNG picture")
	}
	return place(to, content)
}

func readLimited(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxScreen+1))
	if err == nil && len(content) > maxScreen {
		err = fmt.Errorf("the screen has more than %d bytes", maxScreen)
	}
	return content, err
}

// copySerial copies a console line by line, printable and masked.
func copySerial(to, from string, secrets *redact.Set) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return writeSerial(to, in, secrets)
}

func writeSerial(to string, in io.Reader, secrets *redact.Set) error {
	f, err := run.CreateFile(to)
	if err != nil {
		return err
	}
	defer f.Abort()
	out := bufio.NewWriter(f)
	lines := run.LineWriter(func(line string) { _, _ = out.WriteString(secrets.String(line) + "\n") }) // Flush tells
	n, err := io.CopyN(lines, in, maxSerial)
	_ = lines.Close() // never fails
	if err == nil && n == maxSerial {
		_, err = fmt.Fprintf(out, "[cut off here: more than %d bytes]\n", int64(maxSerial))
	} else if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, out.Flush()); err != nil {
		return run.Explain(err)
	}
	return f.Commit()
}
