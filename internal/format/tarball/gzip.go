package tarball

import (
	"crypto/sha256"
	"hash"
	"io"
	"runtime"
	"time"

	"github.com/klauspost/pgzip"
)

// gzipBlockBytes is what one worker compresses at a time. It is part of the
// format, in that another value makes other bytes; the number of workers is
// not.
const gzipBlockBytes = 1 << 20

// gzipWriter compresses on all cores, and ends with a seal.
//
// The CRC of gzip is over the content, so there are bits that it does not see:
// a few header fields, and those that fill a DEFLATE block up to a byte. The
// seal is a second, empty gzip member (RFC 1952, section 2.2) whose extra field
// holds the SHA-256 of all that came before. Every gzip reader takes it for
// nothing.
type gzipWriter struct {
	out     io.Writer
	digest  hash.Hash
	z       *pgzip.Writer
	stopped bool
}

func newGzipWriter(w io.Writer) (*gzipWriter, error) {
	g := &gzipWriter{out: w, digest: sha256.New()}
	g.z = pgzip.NewWriter(io.MultiWriter(w, g.digest))
	g.z.ModTime = time.Unix(0, 0) // the zero Time is not zero seconds
	return g, g.z.SetConcurrency(gzipBlockBytes, runtime.GOMAXPROCS(0))
}

func (g *gzipWriter) Write(p []byte) (int, error) { return g.z.Write(p) }

func (g *gzipWriter) Close() error {
	if err := g.z.Close(); err != nil {
		return err
	}
	g.stopped = true
	_, err := g.out.Write(gzipSeal(g.digest.Sum(nil)))
	return err
}

// stop ends the workers of an archive that is given up.
func (g *gzipWriter) stop() {
	if !g.stopped {
		g.stopped = true
		g.z.Reset(io.Discard)
	}
}

// gzipSeal renders the empty member that holds digest.
func gzipSeal(digest []byte) []byte {
	seal := []byte{
		0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, // FLG.FEXTRA, no time, OS unknown
		36, 0, // XLEN
		'I', 'B', 32, 0, // subfield: id, length
	}
	seal = append(seal, digest...)
	return append(seal, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0) // empty final block, CRC and size of nothing
}

// gzipSealBytes is the length of a seal.
const gzipSealBytes = 12 + 4 + sha256.Size + 10
