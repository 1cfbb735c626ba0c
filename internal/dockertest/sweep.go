package dockertest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// statePrefix begins the names of the folders of the daemons that have, or had,
// the data.
func statePrefix(data string) string {
	digest := sha256.Sum256([]byte(data))
	return fmt.Sprintf("imagebuild-docker-%x-", digest[:4])
}

// sweep takes away what killed tests have left. The caller holds the lock of
// data, so no folder but its own is in use.
func sweep(data, own string) {
	killContainers(data)
	states, _ := filepath.Glob(filepath.Join(os.TempDir(), statePrefix(data)+"*"))
	for _, state := range states {
		if state == own {
			continue
		}
		kill(func(pid string) bool {
			argv, _ := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
			return strings.Contains(string(argv), state+"/")
		})
		unmountBelow(state)
		_ = os.RemoveAll(state)
	}
	unmountBelow(data)
}

// cleanUp takes away what the daemon and its containerd may have left when they
// did not end by themselves.
func cleanUp(t testing.TB, data, state string) {
	t.Helper()
	killContainers(data)
	unmountBelow(state)
	unmountBelow(data)
	if err := os.RemoveAll(state); err != nil {
		t.Errorf("the Docker daemon's folder cannot be removed: %v", err)
	}
}

// killContainers ends the processes of the containers whose folders are in
// data. Their control groups bear the containers' ids.
func killContainers(data string) {
	folders, _ := os.ReadDir(filepath.Join(data, "containers"))
	kill(func(pid string) bool {
		groups, _ := os.ReadFile(filepath.Join("/proc", pid, "cgroup"))
		return slices.ContainsFunc(folders, func(folder os.DirEntry) bool {
			return len(folder.Name()) == 64 && strings.Contains(string(groups), folder.Name())
		})
	})
}

// kill ends each process that is to be ended.
func kill(whether func(pid string) bool) {
	processes, _ := os.ReadDir("/proc")
	for _, each := range processes {
		if pid, err := strconv.Atoi(each.Name()); err == nil && pid != os.Getpid() && whether(each.Name()) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func unmountBelow(dir string) {
	info, _ := os.ReadFile("/proc/self/mountinfo")
	lines := strings.Split(string(info), "\n")
	for i := len(lines) - 1; i >= 0; i-- { // the newest first
		if fields := strings.Fields(lines[i]); len(fields) > 4 && (fields[4] == dir || strings.HasPrefix(fields[4], dir+"/")) {
			_ = syscall.Unmount(fields[4], syscall.MNT_DETACH)
		}
	}
}
