package aws

import (
	"slices"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/journal"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/undo"
)

// die publishes until a fault, and takes nothing back: as a killed run would.
func (r *trial) die(fault awstest.Fault) {
	r.t.Helper()
	r.number++
	r.server.Fail(fault)
	var stack undo.Stack
	t := r.publication(&stack, nil)
	j, err := journal.Create(r.dir, Name, t.Run)
	if err != nil {
		r.t.Fatal(err)
	}
	t.Journal = j
	if _, err := r.platform().Publish(r.t.Context(), t, report.Discard.Begin("publish")); err == nil {
		r.t.Fatalf("%+v did not happen", fault)
	}
	if err := j.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.server.Heal()
	settle(r.t, r.server)
}

// What a killed run began, the next one finishes: with the same snapshot, the
// same image; gc leaves that alone afterwards.
func TestHalfDoneIsFinished(t *testing.T) {
	for name, tc := range map[string]struct {
		fault awstest.Fault
		want  map[string]int // calls in all
	}{
		"while the disk goes up":  {awstest.Fault{Operation: "PutSnapshotBlock", Nth: 3}, map[string]int{"StartSnapshot": 1, "RegisterImage": 1, "CopyImage": 2}},
		"before it is complete":   {awstest.Fault{Operation: "CompleteSnapshot"}, map[string]int{"StartSnapshot": 1, "RegisterImage": 1, "CopyImage": 2}},
		"before it is registered": {awstest.Fault{Operation: "RegisterImage"}, map[string]int{"StartSnapshot": 1, "CompleteSnapshot": 1, "RegisterImage": 2, "CopyImage": 2}},
		"before it is copied":     {awstest.Fault{Operation: "CopyImage", Region: "us-east-1"}, map[string]int{"StartSnapshot": 1, "RegisterImage": 1}},
		"before it is shared":     {awstest.Fault{Operation: "ModifyImageAttribute"}, map[string]int{"StartSnapshot": 1, "RegisterImage": 1, "CopyImage": 2}},
		"before it is called so":  {awstest.Fault{Operation: "CreateTags"}, map[string]int{"StartSnapshot": 1, "RegisterImage": 1, "CopyImage": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRun(t, awstest.Options{})
			r.config.ShareWith = []string{"123456789012"}
			fault := tc.fault
			fault.Effect = awstest.Refuse
			r.die(fault)
			r.mustPublish()
			for operation, want := range tc.want {
				if got := r.server.Count(operation); got != want {
					t.Errorf("%s was called %d times, want %d", operation, got, want)
				}
			}
			want := r.server.Resources()
			if images := r.server.Images(); len(images) != 3 || slices.ContainsFunc(images, func(i awstest.Image) bool { return i.Tags[tagState] != stateDone || len(i.Shared) != 1 }) {
				t.Errorf("%+v", images)
			}
			if removed, err := r.collect(t.Context()); err != nil || !slices.Equal(r.server.Resources(), want) {
				t.Errorf("gc removed %v of %q, %v", removed, want, err)
			}
		})
	}
}

// Without a journal, as after a job whose machine is gone, the tags tell; what
// is young is left alone.
func TestStraysAreFoundByTheirTags(t *testing.T) {
	r := newRun(t, awstest.Options{})
	r.die(awstest.Fault{Operation: "CopyImage", Region: "us-east-1", Effect: awstest.Refuse})
	before := r.server.Resources()
	r.dir = t.TempDir()
	if removed, err := r.collect(t.Context()); err != nil || len(removed) != 0 || !slices.Equal(r.server.Resources(), before) {
		t.Errorf("gc took %v from a run that may be at work, %v", removed, err)
	}
	r.olderThan = 0
	removed, err := r.collect(t.Context())
	if left := r.server.Resources(); err != nil || len(left) != 0 || len(removed) < 2 {
		t.Errorf("removed %v, left %q, %v", removed, left, err)
	}
}

func TestEncrypted(t *testing.T) {
	r := newRun(t, awstest.Options{})
	r.config.Encrypted = true
	keys := map[string]string{"eu-west-1": "arn:aws:kms:eu-west-1:111122223333:key/1", "us-east-1": "arn:aws:kms:us-east-1:111122223333:alias/images"}
	r.config.KMSKeys = keys
	r.mustPublish()
	for _, each := range r.server.Images() {
		if want := keys[each.Region]; !each.Encrypted || want != "" && each.Key != want || want == "" && !strings.Contains(each.Key, ":"+each.Region+":") {
			t.Errorf("%s: encrypted %t with %q", each.Region, each.Encrypted, each.Key)
		}
	}
}

// Other bytes of the same plan, as after the archive moved on: said, and the
// AMI stays as it is.
func TestOtherBytesOfTheSamePlan(t *testing.T) {
	r := newRun(t, awstest.Options{})
	first := r.mustPublish()
	r.disk.Put(100<<20, []byte("more"))
	task := &notes{Task: report.Discard.Begin("publish")}
	r.task = task
	second := r.mustPublish()
	if second.Artifacts[0] != first.Artifacts[0] || !strings.Contains(strings.Join(task.warnings, "\n"), "was made from the same plan, but of other bytes") {
		t.Errorf("%v, then %v, %q", first.Artifacts, second.Artifacts, task.warnings)
	}
}
