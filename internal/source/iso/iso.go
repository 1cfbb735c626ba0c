package iso

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/fetch"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/vm"
)

// Request is what a build asks of the source, besides its configuration.
type Request struct {
	Arch        string      // Debian's spelling
	Disk        size.Bytes  // of the disk to install on
	TemplateDir string      // where relative paths of the template start
	CacheDir    string      // absolute; made when missing
	FailureDir  string      // receives the last screen and the serial log of a failed installation; empty: they are not kept
	Accel       vm.Accel    // empty means vm.Auto
	Report      report.Task // takes notes outside WriteDisk; may be nil
}

// Source is an installer with its configuration.
type Source struct {
	config   Config
	request  Request
	askAfter time.Duration
}

// Open returns the source that config describes. Nothing is touched yet.
func Open(config *Config, request Request) *Source {
	if request.Report == nil {
		request.Report = report.Discard.Begin("")
	}
	return &Source{config: *config, request: request, askAfter: defaultAskAfter}
}

// String names what is installed.
func (s *Source) String() string { return "install " + s.config.name() }

// Check finds what this machine lacks. It changes nothing and needs no network.
func (s *Source) Check(ctx context.Context) error {
	var errs []error
	if err := vm.Check(ctx, false); err != nil {
		errs = append(errs, fault.Errorf(fault.Environment, "an installer runs in a machine: %w", err))
	}
	if _, err := run.LookPath("xorriso"); err != nil && s.needsVolume() {
		errs = append(errs, fault.Errorf(fault.Environment, "xorriso, which makes the disc with the answers, is not installed; install the package xorriso"))
	}
	if s.request.Arch != "" && s.request.Arch != "amd64" {
		errs = append(errs, fault.Errorf(fault.Input, "arch: %s: an installer can be run for amd64 only", s.request.Arch))
	}
	_, _, err := vm.ChooseAccel(s.request.Accel)
	return errors.Join(append(errs, err)...)
}

func (s *Source) needsVolume() bool {
	given := s.config.Unattended.given()
	return len(given) > 0 && s.config.Via == viaDisk && given[0].kind.label != ""
}

// Key identifies the disk that WriteDisk would make: the disc, the answers and
// all that the installer is told. With network: true it does not cover what
// the installer downloads.
func (s *Source) Key(ctx context.Context) (string, error) {
	parts := []string{"imagebuild iso 1", fmt.Sprint(int64(s.request.Disk))}
	c := s.config
	c.Timeout, c.Silence, c.Config, c.Canonical = 0, 0, fetch.Config{}, false // none of them decides a byte
	text, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("iso configuration: %w", err)
	}
	parts = append(parts, string(text))
	if s.config.hasDisc() {
		digest, err := fetch.Digest(ctx, s.config.Request(s.request.TemplateDir, s.request.CacheDir))
		if err != nil {
			return "", err
		}
		parts = append(parts, digest)
	}
	for _, ref := range s.config.Files() {
		if strings.HasPrefix(ref.Field, "unattended.") || strings.HasPrefix(ref.Field, "keys[") || ref.Field == "kernel" || ref.Field == "initrd" {
			digest, err := run.FileSHA256(s.abs(ref.Path))
			if err != nil {
				return "", fault.Wrap(fault.Input, err)
			}
			parts = append(parts, ref.Field, digest)
		}
	}
	hash := sha256.New()
	for _, part := range parts {
		_, _ = fmt.Fprintf(hash, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// Slow implements source.DiskSource: an installation takes minutes.
func (s *Source) Slow() bool { return true }

func (s *Source) abs(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.request.TemplateDir, name)
}
