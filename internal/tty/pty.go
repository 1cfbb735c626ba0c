package tty

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/fault"
)

// Open makes a pseudo terminal (pty(7)): what is written to one end is typed
// at the other. A shell gets one of its own rather than the user's, whose input
// it could fill from inside (TIOCSTI, ioctl_tty(2)).
func Open() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Environment, fmt.Errorf("make a pseudo terminal: %w", err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(fault.Wrap(fault.Environment, fmt.Errorf("make a pseudo terminal: %w", err)), master.Close())
		}
	}()
	if err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	return master, slave, err
}

// SetSize tells the programs on a pseudo terminal how large its window is, in
// characters.
func SetSize(master *os.File, columns, rows int) error {
	return unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(columns), Row: uint16(rows)})
}
