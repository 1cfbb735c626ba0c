package bootstrap

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
)

//go:embed *.sh
var hooks embed.FS

// Request is what a build asks of the source, besides its configuration.
type Request struct {
	Arch        string      // Debian's spelling: amd64, arm64
	Epoch       time.Time   // SOURCE_DATE_EPOCH for what packages generate
	TemplateDir string      // where relative paths of the template start
	CacheDir    string      // absolute; made when missing
	Packages    []string    // more than the configuration names
	Report      report.Task // takes notes outside Populate; may be nil
}

// Bootstrap is a source with its configuration, for one architecture.
type Bootstrap struct {
	config  Config
	request Request
	state   string // of the archives, once known
}

// Open returns the source that config describes. Nothing is touched yet.
func Open(config *Config, request Request) *Bootstrap {
	if request.Report == nil {
		request.Report = report.Discard.Begin("")
	}
	return &Bootstrap{config: *config, request: request}
}

// String names what is bootstrapped.
func (b *Bootstrap) String() string {
	return b.config.Distribution + " " + b.config.Release + " " + b.request.Arch
}

// Key identifies the tree that Populate makes: the configuration, the packages
// asked for, the tool, and the archives' package lists as they are now, which
// takes a second or two and needs the network. Without a network it is the key
// of the last time, with a warning, so that a tree which is in a cache can
// still be used.
//
// After Populate it is the key of what Populate found, which may be newer.
func (b *Bootstrap) Key(ctx context.Context) (string, error) {
	identity, err := b.identity(ctx)
	if err != nil {
		return "", err
	}
	last := filepath.Join(b.request.CacheDir, "bootstrap", identity+".state")
	if b.state == "" {
		b.state, err = b.fetchState(ctx)
		if fault.KindOf(err) == fault.Remote {
			old, readErr := os.ReadFile(last)
			if readErr != nil {
				return "", err
			}
			b.request.Report.Warn("the package archive cannot be reached, so its state of the last build counts: %v", err)
			b.state, err = string(old), nil
		}
		if err != nil {
			return "", err
		}
	}
	if err := remember(last, b.state); err != nil {
		b.request.Report.Warn("the archive's state cannot be kept for a build without a network: %v", err)
	}
	return digest(identity, b.state), nil
}

// identity covers everything but the state of the archives.
func (b *Bootstrap) identity(ctx context.Context) (string, error) {
	version, err := run.Output(ctx, run.Spec{Argv: []string{"mmdebstrap", "--version"}})
	if err != nil {
		return "", err
	}
	config, err := json.Marshal(b.config)
	if err != nil {
		return "", fmt.Errorf("bootstrap configuration: %w", err)
	}
	parts := []string{
		"imagebuild bootstrap 1", strings.TrimSpace(version), string(config), b.request.Arch,
		strconv.FormatInt(b.request.Epoch.Unix(), 10), strings.Join(b.request.Packages, "\n"),
	}
	for i := range b.config.Repositories {
		source, err := b.repository(i)
		if err != nil {
			return "", err
		}
		parts = append(parts, source)
	}
	scripts, err := fs.Glob(hooks, "*.sh")
	if err != nil {
		return "", err
	}
	for _, name := range scripts {
		text, err := hooks.ReadFile(name)
		if err != nil {
			return "", err
		}
		parts = append(parts, string(text))
	}
	return digest(parts...), nil
}

func digest(parts ...string) string {
	hash := sha256.New()
	for _, part := range parts {
		_, _ = fmt.Fprintf(hash, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

func remember(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return run.Explain(err)
	}
	old, err := os.ReadFile(name)
	if err == nil && string(old) == text {
		return nil
	}
	f, err := run.CreateFile(name)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.WriteString(text); err != nil {
		return run.Explain(err)
	}
	return f.Commit()
}

func at(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }
