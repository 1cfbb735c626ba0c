package journal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func dead(t *testing.T, dir string) []*Run {
	t.Helper()
	runs, err := Dead(dir, "aws")
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range runs {
		t.Cleanup(func() { _ = run.Close() })
	}
	return runs
}

func TestADeadRunsJournal(t *testing.T) {
	dir := t.TempDir()
	j, err := Create(dir, "aws", "run-1")
	if err != nil {
		t.Fatal(err)
	}
	snapshot, image := Entry{Kind: "snapshot", Place: "eu-west-1"}, Entry{Kind: "image", Place: "eu-west-1"}
	for _, err := range []error{
		j.Will(snapshot), j.Made(Entry{Kind: "snapshot", Place: "eu-west-1", ID: "snap-1"}),
		j.Will(image), j.Made(Entry{Kind: "image", Place: "eu-west-1", ID: "ami-1"}), j.Gone(Entry{Kind: "image", Place: "eu-west-1", ID: "ami-1"}),
		j.Will(Entry{Kind: "image", Place: "us-east-1"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if runs := dead(t, dir); len(runs) != 0 {
		t.Errorf("a living run is called dead: %+v", runs)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	runs := dead(t, dir)
	want := []*Run{{Name: "run-1", Owner: "aws", Made: []Entry{{Kind: "snapshot", Place: "eu-west-1", ID: "snap-1"}}, Maybe: []Entry{{Kind: "image", Place: "us-east-1"}}}}
	if diff := cmp.Diff(want, runs, cmpopts.IgnoreUnexported(Run{})); diff != "" {
		t.Fatal(diff)
	}
	if again := dead(t, dir); len(again) != 0 {
		t.Error("two clean up after one run")
	}
	if err := runs[0].Remove(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestKeptRunsLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	j, err := Create(dir, "aws", "run-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Keep(); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	var none *Journal
	if err := none.Made(Entry{}); err != nil || none.Keep() != nil || none.Close() != nil {
		t.Error("the nil journal keeps something")
	}
}

func TestDamage(t *testing.T) {
	const head = `{"event":"begun","run":"r","owner":"aws","kind":"","place":""}` + "\n"
	for name, tc := range map[string]struct{ text, want string }{
		"cut off":         {head + `{"event":"ma`, ""},
		"empty":           {"", "line 1"},
		"no beginning":    {`{"event":"made","kind":"image","place":"x","id":"ami-1"}` + "\n", "does not belong here"},
		"two beginnings":  {head + head, "line 2"},
		"a run's name":    {strings.Replace(head, `"r"`, `"../x"`, 1), "not the name of a run"},
		"an unknown word": {head + `{"event":"burnt"}` + "\n", "unknown"},
		"an unknown key":  {head + `{"event":"made","x":1}` + "\n", "unknown field"},
		"damaged inside":  {head + "\x00\n" + head, "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "r.journal"), []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			runs, err := Dead(dir, "aws")
			switch {
			case tc.want == "" && (err != nil || len(runs) != 1):
				t.Errorf("%v, %v", runs, err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"event":"begun","run":"r","owner":"aws","kind":"","place":""}` + "\n" + `{"event":"made","kind":"image","place":"x","id":"ami-1"}` + "\n"))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		run, err := parse(text)
		if (run == nil) == (err == nil) {
			t.Errorf("%v, %v", run, err)
		}
		if run != nil && !runPattern.MatchString(run.Name) {
			t.Errorf("the run %q", run.Name)
		}
	})
}
