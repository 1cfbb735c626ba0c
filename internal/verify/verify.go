// Package verify boots a finished artifact, unpacked from its own file, under
// devices close to its target, and runs tests in it over SSH.
//
//	result, err := verify.Boot(ctx, verify.Request{Artifact: "golden.box", Dir: cache}, task)
//
// The artifact is never written to: the guest's writes go to an overlay that
// vanishes. How the guest is entered is decided by Request.Access. It refuses to guess
// a password, to boot what is damaged, and to hide a device that stands for
// another.
package verify

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/artifact"
	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/failure"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/vm"
)

// Test is one thing to try inside the running guest.
type Test struct {
	Name string
	// Run does it. It shows the guest's output through task.Line and bounds
	// itself; ctx ends when the machine does.
	Run func(ctx context.Context, g guest.Guest, task report.Task) error
}

// Request is what to boot and what to try.
type Request struct {
	Artifact string
	Hardware target.Hardware // fields that are set override what the artifact describes
	Accel    vm.Accel
	Access   entry.Access // the zero value takes what suits the artifact
	Tests    []Test
	Network  bool   // the guest reaches the world; otherwise only we reach it
	Dir      string // for the unpacked disk and the overlay
	// FailureDir receives the last screen, the serial log and the reproducing
	// command when something fails. Empty: they are not kept.
	FailureDir string
	Secrets    *redact.Set // masked in what is kept
	// BootTimeout and ShutdownTimeout bound the machine's start to SSH and its
	// end. Zero means the defaults.
	BootTimeout     time.Duration
	ShutdownTimeout time.Duration
	// Console shows the serial console through task.Line.
	Console bool
}

// The defaults are for an emulated guest on a busy machine, where a boot takes
// a minute.
const (
	DefaultBootTimeout     = 10 * time.Minute
	DefaultShutdownTimeout = 2 * time.Minute
)

// TestResult is how one test went.
type TestResult struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// Result is what was seen. It is filled in as far as the boot came.
type Result struct {
	Artifact string          `json:"artifact"`
	Kind     string          `json:"kind"`
	Provider string          `json:"provider,omitempty"`
	Checks   []string        `json:"checks"`   // what the content was compared with
	Hardware target.Hardware `json:"hardware"` // as booted
	// Assumed is what the artifact says nothing of, and the caller neither.
	Assumed       []string          `json:"assumed,omitempty"`
	Substitutions []vm.Substitution `json:"substitutions,omitempty"`
	Accel         vm.Accel          `json:"accel"`
	AccelReason   string            `json:"accel_reason"`
	Access        string            `json:"access"`
	Kernel        string            `json:"kernel,omitempty"`
	BootSeconds   float64           `json:"boot_seconds"` // to a working SSH session
	Tests         []TestResult      `json:"tests"`
	CleanShutdown bool              `json:"clean_shutdown"`
	SerialLog     string            `json:"serial_log,omitempty"` // only after a failure
	Screen        string            `json:"screen,omitempty"`     // only after a failure
	Reproduce     string            `json:"reproduce,omitempty"`  // only after a failure
}

// Boot boots the artifact and runs the tests. An error says whose problem it
// is: Input for a damaged artifact, Environment for this machine, Guest for
// everything that happens inside.
func Boot(ctx context.Context, request Request, task report.Task) (result Result, err error) {
	if request.BootTimeout == 0 {
		request.BootTimeout = DefaultBootTimeout
	}
	if request.ShutdownTimeout == 0 {
		request.ShutdownTimeout = DefaultShutdownTimeout
	}
	result.Artifact = filepath.Base(request.Artifact)
	dir, remove, err := run.TempDir(request.Dir, "verify-")
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	b := &boot{request: request, task: task, dir: dir, result: &result}
	if err := b.unpack(ctx); err != nil {
		return result, err
	}
	if err := b.configure(ctx); err != nil {
		return result, err
	}
	return result, b.run(ctx)
}

// boot is one verification in progress.
type boot struct {
	request  Request
	task     report.Task
	dir      string
	artifact *artifact.Artifact
	disk     artifact.Disk
	config   vm.Config
	entry    entry.Way
	uuid     string
	result   *Result
}

func (b *boot) unpack(ctx context.Context) error {
	return report.Do(b.task, "unpack", func(task report.Task) (err error) {
		if b.artifact, err = artifact.Open(ctx, b.request.Artifact); err != nil {
			return err
		}
		if b.disk, err = b.artifact.Unpack(ctx, b.dir); err != nil {
			return err
		}
		a := b.artifact
		b.result.Kind, b.result.Provider, b.result.Checks = string(a.Kind), a.Provider, a.Checks
		if b.request.Hardware == (target.Hardware{}) {
			b.result.Assumed = a.Assumed
		}
		if len(a.Checks) == 0 {
			task.Note("nothing in the artifact says what its bytes should be; only its structure was checked")
		} else {
			task.Note("checked against %s", strings.Join(a.Checks, ", "))
		}
		return nil
	})
}

// configure decides on the machine and on the way in.
func (b *boot) configure(ctx context.Context) error {
	hardware, substitutions := vm.Emulated(override(b.artifact.Hardware, b.request.Hardware))
	hardware, note := vm.Fit(hardware, vm.AvailableMemory())
	if note != "" {
		b.task.Warn("%s", note)
	}
	b.result.Hardware, b.result.Substitutions = hardware, substitutions
	var err error
	if b.uuid, err = vm.NewUUID(); err != nil {
		return err
	}
	if b.entry, err = way(ctx, b.request.Access, b.artifact, b.dir); err != nil {
		return err
	}
	b.result.Access = b.entry.How
	b.config = vm.Config{
		Hardware:   hardware,
		Disks:      []vm.Disk{{Path: b.disk.Path, Format: b.disk.Format, Snapshot: true}},
		Accel:      b.request.Accel,
		OEMStrings: b.entry.OEMStrings,
		UUID:       b.uuid,
		Restrict:   !b.request.Network,
		Dir:        b.dir,
		SerialLog:  filepath.Join(b.dir, "serial.log"),
	}
	if iso := b.entry.SeedISO; iso != "" {
		b.config.Disks = append(b.config.Disks, vm.Disk{Path: iso, Format: "raw", CDROM: true})
	}
	if b.request.Console {
		b.config.OnSerial = b.task.Line
	}
	return nil
}

func (b *boot) run(ctx context.Context) (err error) {
	machine, err := vm.Start(ctx, b.config)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = b.explain(ctx, machine, err)
		}
		err = errors.Join(err, machine.Close(ctx))
	}()
	b.result.Accel, b.result.AccelReason = machine.Accel, machine.AccelReason
	h := b.result.Hardware
	b.task.Note("booting under %s (%s): %s, %s, %s", strings.ToUpper(string(machine.Accel)), machine.AccelReason, h.Firmware, h.Controller, h.NIC)
	for _, s := range b.result.Substitutions {
		b.task.Note("%s", s)
	}
	alive, cancel := machine.Context(ctx)
	defer cancel()
	client, err := b.enter(alive, machine)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // the machine is switched off
	if b.result.Tests, err = RunTests(alive, client, b.request.Tests, b.task); err != nil {
		return err
	}
	return b.shutdown(ctx, machine, client)
}

// RunTests runs tests in order, all of them: one boot should tell everything.
func RunTests(ctx context.Context, g guest.Guest, tests []Test, task report.Task) (results []TestResult, err error) {
	var failed []error
	for _, each := range tests {
		started := time.Now()
		err := report.Do(task, "test: "+each.Name, func(task report.Task) error { return each.Run(ctx, g, task) })
		r := TestResult{Name: each.Name, Seconds: time.Since(started).Seconds()}
		if err != nil {
			r.Error = err.Error()
			failed = append(failed, err)
		}
		results = append(results, r)
		if ctx.Err() != nil {
			return results, errors.Join(append(failed, context.Cause(ctx))...)
		}
	}
	return results, fault.Wrap(fault.Guest, errors.Join(failed...))
}

// override replaces what the caller knows better.
func override(h, by target.Hardware) target.Hardware {
	if by.CPUs != 0 {
		h.CPUs = by.CPUs
	}
	if by.Memory != 0 {
		h.Memory = by.Memory
	}
	if by.Firmware != "" {
		h.Firmware = by.Firmware
	}
	if by.Controller != "" {
		h.Controller = by.Controller
	}
	if by.NIC != "" {
		h.NIC = by.NIC
	}
	return h
}

// explain keeps what is needed to understand a failure, and says where it is.
func (b *boot) explain(ctx context.Context, machine *vm.Machine, err error) error {
	var kept strings.Builder
	if tail := machine.Serial(); len(tail) > 0 {
		const lines = 12
		fmt.Fprintf(&kept, "\n  last lines of the console:\n    %s", strings.Join(tail[max(0, len(tail)-lines):], "\n    "))
	}
	if dir := b.request.FailureDir; dir != "" {
		if keepErr := b.keep(ctx, machine, dir); keepErr != nil {
			b.task.Warn("the failure bundle is incomplete: %v", keepErr)
		}
		fmt.Fprintf(&kept, "\n  kept in %s: %s, %s, %s", dir, failure.ScreenFile, failure.SerialFile, failure.ScriptFile)
	}
	fmt.Fprintf(&kept, "\n  the machine was: %s", machine.Command())
	return fault.Wrap(fault.Guest, fmt.Errorf("%w%s", err, kept.String()))
}

func (b *boot) keep(ctx context.Context, machine *vm.Machine, dir string) error {
	script, command := "", machine.Command()
	if by := b.artifact.Describe(b.disk); by != "" {
		script = "cd \"$(mktemp -d)\"\n" + by + "\n"
		command = strings.ReplaceAll(command, b.disk.Path, filepath.Base(b.disk.Path))
	}
	kept, err := failure.KeepMachine(ctx, dir, machine, failure.Remains{
		Work: b.dir, SerialLog: b.config.SerialLog, Script: script + command + "\n", Secrets: b.request.Secrets,
	})
	b.result.Screen, b.result.SerialLog, b.result.Reproduce = kept.Screen, kept.SerialLog, kept.Reproduce
	return err
}
