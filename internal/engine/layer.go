package engine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/org/imagebuild-action/internal/run"
)

// stamp begins a saved layer, as one line of JSON.
type stamp struct {
	ID    string `json:"id"`
	Below string `json:"below"` // the id of what the layer was made on
}

const maxHeader = 4 << 10 // bytes of a line that begins a saved layer or state

// ErrOtherDisk is a saved layer, or a saved state, that was made on other
// bytes than those below it here: another build has replaced them.
var ErrOtherDisk = errors.New("it was made on another disk than the one that is here")

// Saver returns what writes layer n, which must not change any more; the chain
// may grow meanwhile.
func (c *Chain) Saver(n int) func(w io.Writer) error {
	header, path := stamp{c.ids[n], c.ids[n-1]}, c.Layer(n)
	return func(w io.Writer) error {
		if err := writeHeader(w, header); err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return run.Explain(err)
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return run.Explain(err)
	}
}

// Load adds the layer that a Saver has written on top of the others. After an
// error the chain is as it was.
func (c *Chain) Load(r io.Reader) error {
	var s stamp
	buffered := bufio.NewReaderSize(r, 1<<20)
	if err := readHeader(buffered, &s); err != nil {
		return err
	}
	if s.Below != c.last() {
		return ErrOtherDisk
	}
	return c.add(s.ID, buffered)
}

// add makes a layer of what r holds.
func (c *Chain) add(id string, r io.Reader) error {
	path := c.Layer(c.Layers() + 1)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return run.Explain(err)
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err != nil {
		return run.Explain(errors.Join(err, os.Remove(path)))
	}
	c.ids = append(c.ids, id)
	return nil
}

func writeHeader(w io.Writer, header any) error {
	line, err := json.Marshal(header)
	if err == nil {
		_, err = w.Write(append(line, '\n'))
	}
	return err
}

func readHeader(r *bufio.Reader, header any) error {
	line, err := r.ReadSlice('\n')
	switch {
	case err != nil:
		return fmt.Errorf("read its first line: %w", err)
	case len(line) > maxHeader:
		return fmt.Errorf("its first line has more than %d bytes", maxHeader)
	}
	return json.Unmarshal(line, header)
}
