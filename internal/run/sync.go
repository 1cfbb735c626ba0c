package run

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// auditArchs are the kernel's numbers of the instruction sets whose system calls
// the numbers in unix are (Linux, include/uapi/linux/audit.h).
var auditArchs = map[string]uint32{ //nolint:gochecknoglobals // a constant table
	"amd64": 0xc000003e,
	"arm64": 0xc00000b7,
}

// Places in struct seccomp_data (seccomp(2)).
const (
	syscallNumberAt = 0
	syscallArchAt   = 4
)

// ignoreSync lets fsync(2) and fdatasync(2) of the calling thread, and of the
// programs that it starts, succeed at once. It cannot be taken back: the thread
// has to end. Programs that it starts get no privileges from their files.
func ignoreSync() error {
	arch, ok := auditArchs[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("the number of %s is not known", runtime.GOARCH)
	}
	const load, equal, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{
		{Code: load, K: syscallArchAt},
		{Code: equal, K: arch, Jf: 3},
		{Code: load, K: syscallNumberAt},
		{Code: equal, K: unix.SYS_FSYNC, Jt: 2},
		{Code: equal, K: unix.SYS_FDATASYNC, Jt: 1},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
		{Code: ret, K: unix.SECCOMP_RET_ERRNO}, // with the number 0, which is success
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl PR_SET_NO_NEW_PRIVS: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return fmt.Errorf("prctl PR_SET_SECCOMP: %w", err)
	}
	return nil
}
