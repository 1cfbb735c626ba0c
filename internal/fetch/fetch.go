// Package fetch brings a file that a template names to a path on this machine,
// and does not hand it out before its digest is right.
//
//	request := fetch.Request{Location: "https://example.org/disk.qcow2", Checksum: "sha256:9f86...", CacheDir: dir}
//	digest, err := fetch.Digest(ctx, request) // without the file itself
//	path, err := fetch.Get(ctx, request, task)
//
// What comes over HTTP is kept in CacheDir/downloads under its digest, and a
// download that broke off goes on where it stopped, in the next build too. Any
// number of builds may want one file at once: one of them downloads it. The
// least recently used files go when there are too many. A local file is used
// where it is.
//
// It refuses downloads without a digest, digests other than SHA-256 and
// SHA-512, lists of digests without a good signature, redirects to another
// scheme (from http to https excepted), and files larger than LimitBytes.
package fetch

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/retry"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
)

// Defaults of what a Request leaves open.
const (
	DefaultLimit      = 64 * size.GiB
	DefaultStallLimit = time.Minute
	DefaultAttempts   = 8
)

// downloadsDir is below the cache folder.
const downloadsDir = "downloads"

// Request says which file, and what it must be.
type Request struct {
	Location string // URL (https, http or file), or a path
	Checksum string // "sha256:HEX" or "sha512:HEX"; may be left out for a local file

	// ChecksumsURL is a signed list of digests, as of sha256sum, in the place
	// of Checksum: a URL or a path. The line with the last part of Location
	// counts. Signature is the list's detached OpenPGP signature, a URL or a
	// path; empty where the list is signed inline. Keyring is the file of
	// the public keys to trust, armored or not.
	ChecksumsURL, Signature, Keyring string

	BaseDir  string // where relative paths start
	CacheDir string // absolute; made when missing

	LimitBytes size.Bytes    // zero means DefaultLimit
	CacheLimit size.Bytes    // least recently used downloads above this go; zero means DefaultCacheLimit
	StallLimit time.Duration // without a byte, after which an attempt ends; zero means DefaultStallLimit
	Retry      retry.Policy  // zero means DefaultAttempts, a second apart at first
	Client     *http.Client  // nil means one with the proxy settings of the environment
}

// Digest returns the digest that the file has or must have, as
// "sha256:HEX": from the request, from the list, or of the local file's
// content. A caller may put it into Checksum to spare another look at the list.
func Digest(ctx context.Context, r Request) (string, error) {
	d, err := r.digest(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", Shown(r.Location), err)
	}
	if d != (digest{}) {
		return d.String(), nil
	}
	local, _ := r.local(r.Location)
	if d, err = fileDigest(ctx, local, sha256Name); err != nil {
		return "", classify(ctx, err)
	}
	return d.String(), nil
}

// Get returns the path of the file, whose digest has just been checked. It
// must not be written to, nor removed. A digest that is another one is an
// Input fault which says both.
func Get(ctx context.Context, r Request, task report.Task) (string, error) {
	file, err := r.get(ctx, task)
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", Shown(r.Location), classify(ctx, err))
	}
	return file, nil
}

func (r Request) get(ctx context.Context, task report.Task) (string, error) {
	want, err := r.digest(ctx)
	if err != nil {
		return "", err
	}
	local, isLocal := r.local(r.Location)
	switch {
	case isLocal && want == digest{}:
		info, err := os.Stat(local)
		if err == nil && !info.Mode().IsRegular() {
			err = fault.Errorf(fault.Input, "not a regular file")
		}
		return local, err
	case isLocal:
		return local, want.check(ctx, local)
	}
	d := &download{request: r, want: want, task: task}
	d.policy = r.policy(task)
	return d.run(ctx)
}

// digest is what the file must be; zero if nothing says so, which is allowed
// for a local file only.
func (r Request) digest(ctx context.Context) (digest, error) {
	_, isLocal := r.local(r.Location)
	switch {
	case r.Location == "":
		return digest{}, fault.Errorf(fault.Input, "there is neither a URL nor a path")
	case r.Checksum != "" && r.ChecksumsURL != "":
		return digest{}, fault.Errorf(fault.Input, "both a digest and a list of digests; keep one")
	case r.Checksum != "":
		return parseDigest(r.Checksum)
	case r.ChecksumsURL != "":
		return r.listed(ctx)
	case !isLocal:
		return digest{}, fault.Errorf(fault.Input, "a download needs a digest; give its checksum, or a signed list of checksums")
	}
	return digest{}, nil
}

// local returns the path of a location on this machine.
func (r Request) local(location string) (string, bool) {
	if u, err := url.Parse(location); err == nil && strings.Contains(location, "://") {
		if u.Scheme != "file" || u.Host != "" && u.Host != "localhost" {
			return "", false
		}
		location = u.Path
	}
	if !filepath.IsAbs(location) {
		location = filepath.Join(r.BaseDir, location)
	}
	return location, true
}

// name is the last part of the location, by which a list knows the file.
func (r Request) name() string {
	if file, ok := r.local(r.Location); ok {
		return filepath.Base(file)
	}
	u, err := url.Parse(r.Location)
	if err != nil {
		return ""
	}
	return path.Base(u.Path)
}

// policy is the one for downloads, told to the task.
func (r Request) policy(task report.Task) retry.Policy {
	p := r.Retry
	p.Attempts = cmp.Or(p.Attempts, DefaultAttempts)
	p.Delay = cmp.Or(p.Delay, time.Second)
	p.MaxDelay = cmp.Or(p.MaxDelay, 20*time.Second)
	p.Before = func(attempt int, wait time.Duration, cause error) {
		task.Note("attempt %d of %d in %s, because: %v", attempt, p.Attempts, wait, cause)
	}
	return p
}

func (r Request) limit() int64 { return int64(cmp.Or(r.LimitBytes, DefaultLimit)) }

// Shown is a location that may be printed: without a password or a query,
// which may hold a token.
func Shown(location string) string {
	u, err := url.Parse(location)
	if err != nil || !strings.Contains(location, "://") {
		return location
	}
	u.RawQuery, u.Fragment = "", ""
	return u.Redacted()
}

// classify blames the input for what the file system says about a path that
// the template names, and leaves the rest as it is.
func classify(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return fault.Wrap(fault.Input, run.Explain(err))
}
