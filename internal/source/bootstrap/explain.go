package bootstrap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
)

// tailLines is how much of a failed run's output its error quotes.
const tailLines = 12

// output shows the lines of a program and keeps those that explain a failure.
// It is an io.Writer for programs whose lines nobody watches.
type output struct {
	task report.Task

	mu       sync.Mutex
	tail     []string
	errors   []string // lines that apt, dpkg and mmdebstrap mark as errors
	partial  string
	pkgnames []string
}

// maxErrors bounds the error lines that are kept.
const maxErrors = 100

func (o *output) line(text string) {
	if chatter.MatchString(text) {
		return
	}
	if o.task != nil {
		o.task.Line(text)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tail = append(o.tail, text); len(o.tail) > tailLines {
		o.tail = o.tail[1:]
	}
	if errorLine.MatchString(text) && len(o.errors) < maxErrors {
		o.errors = append(o.errors, text)
	}
}

// Write implements io.Writer. An unfinished line is kept up to run.MaxLine.
func (o *output) Write(p []byte) (int, error) {
	text := o.partial + string(p)
	for {
		line, rest, found := strings.Cut(text, "\n")
		if !found {
			break
		}
		o.line(line)
		text = rest
	}
	o.partial = text[:min(len(text), run.MaxLine)]
	return len(p), nil
}

// chatter is what apt says about how it calls dpkg.
var chatter = regexp.MustCompile(`^(/usr/bin/)?dpkg --status-fd|^Chrooting into |^\(Reading database`)

var errorLine = regexp.MustCompile(`^(E:|W:|Err:|dpkg: error|dpkg-deb: error|tar: |cp: |  |mkdir: |Errors were| The following signatures)|No space left|cannot be executed`)

// symptom is a line that tells what went wrong.
type symptom struct {
	pattern *regexp.Regexp
	kind    fault.Kind
	explain func(b *Bootstrap, o *output, match []string) string
}

// symptoms are tried in this order on all lines: the first that fits any line
// is the explanation, because later lines tend to be consequences.
var symptoms = []symptom{
	{re(`No space left on device|Disk quota exceeded|You don't have enough free space`), fault.Environment, say("the disk is full; free some space, or point --cache-dir and --output at a larger file system")},
	{re(`^E: Unable to locate package (\S+)`), fault.Input, (*Bootstrap).noPackage},
	{re(`^E: Package '(\S+)' has no installation candidate`), fault.Input, (*Bootstrap).noPackage},
	{re(`^E: Version '(\S+)' for '(\S+)' was not found`), fault.Input, say("package %[2]s has no version %[1]s in the archive; name another, or none for the newest")},
	{re(`^E: Release '(\S+)' for '(\S+)' was not found`), fault.Input, say("package %[2]s: no archive is called %[1]s")},
	{re(`Unable to find expected entry '([^']+)/binary-|doesn't have the component '([^']+)'`), fault.Input, (*Bootstrap).noComponent},
	{re(`Could not resolve|Could not connect|Temporary failure|Connection (?:refused|timed out|reset)|Network is unreachable|connection timed out|Unable to connect`), fault.Remote, remote},
	{re(`^\s+(?:401|403|407|429|5\d\d)  \S`), fault.Remote, remote},
	{re(`^E: The repository '\S+ (\S+) (?:In)?Release' does not have a Release file`), fault.Input, (*Bootstrap).noRelease},
	{re(`NO_PUBKEY|is not signed|public key is not available|signatures (?:were|couldn't)`), fault.Input, (*Bootstrap).noKey},
	{re(`^E: Failed to fetch (\S+)`), fault.Remote, remote},
	{re(`Hash Sum mismatch|File has unexpected size`), fault.Remote, remote},
	{re(`have unmet dependencies|held broken packages|Unable to correct problems`), fault.Input, unmet},
	{re(`is not valid yet|Release file .* expired`), fault.Environment, quoted("the clock of this machine and the archive's dates do not fit together")},
	{re(`cannot be executed|arch-test|qemu-user`), fault.Environment, say("programs of the architecture cannot be run on this machine; install qemu-user-static and binfmt-support, or build on such a machine")},
	{re(`Operation not permitted|Permission denied`), fault.Environment, quoted("a right is missing; run as root, or where user namespaces are allowed")},
	{re(`^Errors were encountered while processing|dpkg returned an error code`), fault.Guest, quoted("a package could not be set up")},
}

func re(pattern string) *regexp.Regexp { return regexp.MustCompile(pattern) }

func say(format string) func(*Bootstrap, *output, []string) string {
	return func(_ *Bootstrap, _ *output, match []string) string {
		if !strings.Contains(format, "%") {
			return format
		}
		args := make([]any, 0, len(match))
		for _, each := range match[1:] {
			args = append(args, each)
		}
		return fmt.Sprintf(format, args...)
	}
}

func quoted(text string) func(*Bootstrap, *output, []string) string {
	return func(_ *Bootstrap, o *output, _ []string) string {
		return text + ":\n" + strings.Join(o.tail, "\n")
	}
}

func remote(b *Bootstrap, o *output, _ []string) string {
	return "the package archive " + cmp.Or(b.config.Mirror, "of "+b.config.Distribution) + " cannot be reached:\n" + strings.Join(o.errors[:min(len(o.errors), 4)], "\n")
}

func unmet(_ *Bootstrap, o *output, _ []string) string {
	return "the packages do not go together:\n" + strings.Join(o.errors, "\n")
}

func (b *Bootstrap) noPackage(o *output, match []string) string {
	text := fmt.Sprintf("package %q does not exist in %s %s", match[1], b.config.Distribution, b.config.Release)
	if len(b.config.Repositories) > 0 {
		text += " or the further repositories"
	}
	return text + meant(match[1], o.pkgnames)
}

func (b *Bootstrap) noComponent(_ *output, match []string) string {
	return fmt.Sprintf("%s %s has no component %q", b.config.Distribution, b.config.Release, cmp.Or(match[1:]...))
}

func (b *Bootstrap) noRelease(_ *output, match []string) string {
	suite := match[1]
	if suite != b.config.Release && !strings.HasPrefix(suite, b.config.Release+"-") {
		return fmt.Sprintf("a further repository has no suite %q", suite)
	}
	where := ""
	if b.config.Mirror != "" {
		where = " at " + b.config.Mirror
	}
	return fmt.Sprintf("%s has no release %q%s%s", b.config.Distribution, suite, where, meant(suite, releases(b.config.Distribution)))
}

func (b *Bootstrap) noKey(o *output, _ []string) string {
	return "a package archive is not signed by a key that is trusted here; install " + keyrings[b.config.Distribution].pkg +
		", or give a repository its own key:\n" + strings.Join(o.errors[:min(len(o.errors), 4)], "\n")
}

// explain turns a failed run into an error that says whose problem it is.
func (b *Bootstrap) explain(ctx context.Context, o *output, err error) error {
	if ctx.Err() != nil {
		return err
	}
	var exit *run.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	for _, s := range symptoms {
		for _, line := range slices.Concat(o.errors, o.tail) {
			if match := s.pattern.FindStringSubmatch(line); match != nil {
				return fault.Errorf(s.kind, "%s", s.explain(b, o, match))
			}
		}
	}
	return fault.Errorf(fault.Environment, "mmdebstrap failed:\n%s", strings.Join(o.tail, "\n"))
}
