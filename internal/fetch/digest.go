package fetch

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
)

const (
	sha256Name = "sha256"
	sha512Name = "sha512"
)

// digest is a digest with its algorithm; comparable.
type digest struct{ algorithm, hex string }

func (d digest) String() string { return d.algorithm + ":" + d.hex }

// fileName is the name in the cache: the digest, without a character that a
// file system could mind.
func (d digest) fileName() string { return d.algorithm + "-" + d.hex }

func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case sha256Name:
		return sha256.New()
	case sha512Name:
		return sha512.New()
	}
	return nil
}

// parseDigest reads "sha256:HEX" or "sha512:HEX", in either case.
func parseDigest(text string) (digest, error) {
	algorithm, sum, _ := strings.Cut(strings.ToLower(text), ":")
	h := newHash(algorithm)
	if h == nil {
		return digest{}, fault.Errorf(fault.Input, "%q is not a digest; write sha256: or sha512: and the digest in hexadecimal", text)
	}
	raw, err := hex.DecodeString(sum)
	if err != nil || len(raw) != h.Size() {
		return digest{}, fault.Errorf(fault.Input, "%q is not a digest; %s: is followed by %d hexadecimal digits", text, algorithm, 2*h.Size())
	}
	return digest{algorithm, sum}, nil
}

// check compares a file with the digest.
func (d digest) check(ctx context.Context, file string) error {
	got, err := fileDigest(ctx, file, d.algorithm)
	if err == nil && got != d {
		err = &mismatch{want: d, got: got}
	}
	return err
}

// mismatch is a file that is not the one that was asked for.
type mismatch struct{ want, got digest }

func (m *mismatch) Error() string {
	return "its digest is " + m.got.String() + " where " + m.want.String() + " is wanted; if the file was published anew, check it and change the checksum"
}

func fileDigest(ctx context.Context, file, algorithm string) (digest, error) {
	f, err := os.Open(file)
	if err != nil {
		return digest{}, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return digest{}, fault.Errorf(fault.Input, "%s is not a regular file", file)
	}
	h := newHash(algorithm)
	if _, err := io.Copy(h, contextReader{ctx, f}); err != nil {
		return digest{}, err
	}
	return digest{algorithm, hex.EncodeToString(h.Sum(nil))}, nil
}

type contextReader struct {
	ctx context.Context //nolint:containedctx // lives for one copy
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
