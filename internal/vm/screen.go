package vm

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

const (
	screenInterval  = 250 * time.Millisecond // between two looks
	settledLooks    = 5                      // looks in a row that show the same
	maxScreenPixels = 1 << 24                // QEMU's standard card has 16 MiB of memory
	// The cursor of a text screen blinks: what changes within one character is
	// no change.
	cellWidth, cellHeight = 16, 32
	// A picture may differ a little: a clock, a cursor, a shade.
	shade       = 0x1000 // of 0xffff, in each colour
	differences = 100    // one pixel in so many
)

// Screen looks at the guest's screen. scratch is a file that it may overwrite.
func (m *Machine) Screen(ctx context.Context, scratch string) (image.Image, error) {
	if err := m.Screendump(ctx, scratch); err != nil {
		return nil, err
	}
	picture, err := ReadPicture(scratch)
	if err != nil {
		return nil, fmt.Errorf("the screen: %w", err)
	}
	return picture, nil
}

// ReadPicture reads a PNG file of a screen. Its errors are of kind Input.
func ReadPicture(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Wrap(fault.Input, run.Explain(err))
	}
	defer f.Close()
	head, err := png.DecodeConfig(f)
	if err != nil {
		return nil, fault.Errorf(fault.Input, "%s: %w", path, err)
	}
	if head.Width*head.Height > maxScreenPixels {
		return nil, fault.Errorf(fault.Input, "%s: %dx%d pixels is more than any screen here", path, head.Width, head.Height)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	picture, err := png.Decode(f)
	return picture, fault.Wrap(fault.Input, err)
}

// WaitSettled waits until the screen has stopped changing: several looks in a
// row show the same, but for a cursor. limit bounds it.
func (m *Machine) WaitSettled(ctx context.Context, scratch string, limit time.Duration) error {
	var last image.Image
	same := 0
	return m.look(ctx, scratch, limit, "the screen did not settle", func(now image.Image) bool {
		if last != nil && SameScreen(last, now) {
			same++
		} else {
			same = 0
		}
		last = now
		return same == settledLooks-1
	})
}

// WaitPicture waits until the screen shows a picture of its own size. Where
// the picture is transparent anything may be. limit bounds it.
func (m *Machine) WaitPicture(ctx context.Context, picture image.Image, scratch string, limit time.Duration) error {
	return m.look(ctx, scratch, limit, "the screen did not show the picture", func(now image.Image) bool { return shows(now, picture) })
}

// look takes looks at the screen until one is good.
func (m *Machine) look(ctx context.Context, scratch string, limit time.Duration, failed string, good func(image.Image) bool) error {
	ctx, cancel := m.Context(ctx)
	defer cancel()
	ticker, late := time.NewTicker(screenInterval), time.NewTimer(limit)
	defer ticker.Stop()
	defer late.Stop()
	for {
		now, err := m.Screen(ctx, scratch)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case good(now):
			return nil
		}
		select {
		case <-ticker.C:
		case <-late.C:
			return fault.Errorf(fault.Guest, "%s within %s", failed, limit)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// SameScreen tells whether two looks show the same but for a cursor.
func SameScreen(a, b image.Image) bool {
	if a.Bounds() != b.Bounds() {
		return false
	}
	changed := image.Rectangle{}
	for y := a.Bounds().Min.Y; y < a.Bounds().Max.Y; y++ {
		for x := a.Bounds().Min.X; x < a.Bounds().Max.X; x++ {
			if far(a.At(x, y), b.At(x, y)) {
				changed = changed.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	return changed.Dx() <= cellWidth && changed.Dy() <= cellHeight
}

// shows tells whether a screen shows a picture.
func shows(screen, picture image.Image) bool {
	if screen.Bounds().Size() != picture.Bounds().Size() {
		return false
	}
	offset := screen.Bounds().Min.Sub(picture.Bounds().Min)
	counted, differ := 0, 0
	for y := picture.Bounds().Min.Y; y < picture.Bounds().Max.Y; y++ {
		for x := picture.Bounds().Min.X; x < picture.Bounds().Max.X; x++ {
			wanted := picture.At(x, y)
			if _, _, _, alpha := wanted.RGBA(); alpha < 0xffff {
				continue
			}
			counted++
			if far(wanted, screen.At(x+offset.X, y+offset.Y)) {
				differ++
			}
		}
	}
	return counted > 0 && differ*differences <= counted
}

func far(a, b color.Color) bool {
	r1, g1, b1, _ := a.RGBA()
	r2, g2, b2, _ := b.RGBA()
	return max(r1, r2)-min(r1, r2) > shade || max(g1, g2)-min(g1, g2) > shade || max(b1, b2)-min(b1, b2) > shade
}
