package run

import (
	"os"
	"path/filepath"
	"testing"
)

// TestFileTakesItsName: whole under its name after Commit, and nothing at all
// after Abort, synced or scratch.
func TestFileTakesItsName(t *testing.T) {
	for name, create := range map[string]func(string) (*File, error){"synced": CreateFile, "scratch": CreateScratch} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "disk")
			for _, commit := range []bool{false, true} {
				f, err := create(path)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteString("content"); err != nil {
					t.Fatal(err)
				}
				if _, err := os.Stat(path); !os.IsNotExist(err) {
					t.Errorf("it has its name before it is whole: %v", err)
				}
				if commit {
					if err := f.Commit(); err != nil {
						t.Fatal(err)
					}
				}
				f.Abort()
				left, err := os.ReadDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				if want := map[bool]int{false: 0, true: 1}[commit]; len(left) != want {
					t.Errorf("committed %t: %d files are left", commit, len(left))
				}
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != "content" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}
