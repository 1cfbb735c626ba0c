package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/cache"
	"github.com/org/imagebuild-action/internal/failure"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/internal/vm"
)

// builder is one run of Run.
type builder struct {
	Options
	plan   *plan.Plan
	dir    string // the template's folder
	cache  *cache.Cache
	work   *run.WorkDir // below Output, so that a rename finishes a file
	trees  []*builtTree
	packed []packedCell
	clouds clouds
	result Result

	remote  bool // the source is where the platforms are, and the image is made there
	origins map[*plan.Cell]target.Origin

	recorder   *failure.Recorder
	shells     shells
	background *background
}

// Run builds what the options say.
func Run(ctx context.Context, o Options) (_ *Result, err error) {
	start := time.Now()
	b := &builder{Options: o, recorder: failure.Record(o.Report), background: newBackground(), result: Result{Generator: o.Generator}}
	b.Report = b.recorder
	if err := b.stage("plan", func(report.Task) error { return b.load(ctx) }); err != nil {
		return nil, err
	}
	unlock, err := lockFolder(o.Output, run.SweepAge)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := failure.Remove(b.failureDir("")); err != nil { // of the build before
		return nil, err
	}
	stage := "" // in which it fails
	defer func() { err = b.explain(ctx, stage, err) }()
	if b.work, err = run.NewWorkDir(o.Output, workPrefix); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.leave(err)) }()
	if b.clouds.run, err = newRun(o.RunHint); err != nil {
		return nil, err
	}
	b.clouds.undo.Limit = undoLimit
	defer func() { err = errors.Join(err, b.leaveClouds(ctx, err)) }()
	if err := os.MkdirAll(o.CacheDir, 0o755); err != nil {
		return nil, run.Explain(err)
	}
	if err := run.Sweep(filepath.Join(o.CacheDir, workDir), rootPrefix, run.SweepAge); err != nil {
		return nil, run.Explain(err)
	}
	cacheDir := filepath.Join(o.CacheDir, "checkpoints")
	if o.NoCache { // what this build itself makes twice is still made once
		cacheDir = filepath.Join(b.work.Path, "checkpoints")
	}
	if b.cache, err = cache.Open(cacheDir, o.CacheLimit); err != nil {
		return nil, err
	}
	defer b.cache.Close()
	defer func() { err = cmp.Or(err, b.background.wait()) }()
	for _, step := range b.steps() {
		stage = step.name
		if err := b.stage(step.name, func(task report.Task) error { return step.fn(ctx, task) }); err != nil {
			return nil, err
		}
		if string(o.Until) == step.name {
			break
		}
	}
	if b.Publish && !b.remote {
		stage = "publish"
		if err := b.stage(stage, func(task report.Task) error { return b.publish(ctx, task) }); err != nil {
			return nil, err
		}
	}
	if err := b.background.wait(); err != nil {
		return nil, err
	}
	b.result.Seconds = seconds(start)
	if err := b.finish(ctx); err != nil {
		return nil, err
	}
	return &b.result, nil
}

// stageOf is a stage and what it does.
type stageOf struct {
	name string
	fn   func(context.Context, report.Task) error
}

// steps are the stages of the build, before it publishes.
func (b *builder) steps() []stageOf {
	if b.remote {
		return []stageOf{{"check", b.checkLaunch}, {"instance", b.launch}}
	}
	return []stageOf{
		{"check", b.check}, {"source", b.sources}, {"provision", b.provision}, {"seal", b.seal}, {"pack", b.pack}, {"verify", b.verify},
	}
}

func (b *builder) load(ctx context.Context) error {
	file, err := template.Load(b.Template, Registry())
	if err != nil {
		return err
	}
	b.dir = file.Dir()
	if b.Accel != vm.TCG {
		// Asked ahead: where KVM is a fake, the answer takes as long as the plan.
		go vm.ChooseAccel(vm.Auto) //nolint:errcheck // for whoever needs it
	}
	if b.plan, err = newPlan(ctx, file, b.Options); err != nil {
		return err
	}
	for _, t := range b.plan.Trees {
		b.remote = t.Engine == template.Instance // one source, so all or none
		b.trees = append(b.trees, &builtTree{plan: t, epoch: b.Epoch, disks: map[string]*disk{}})
	}
	b.result.Name, b.result.Version, b.result.PlanDigest = b.plan.Name, b.plan.Version, b.plan.Digest
	b.result.Differences = b.plan.Differences
	return b.checkFrom()
}

// leave removes what only the build needed.
func (b *builder) leave(cause error) error {
	var errs []error
	keep := cause != nil && b.OnError == Keep
	for _, t := range b.trees {
		errs = append(errs, t.letGo(keep))
	}
	errs = append(errs, letGo(b.work, keep))
	if keep {
		b.Report.Begin("kept").Note("the failed build's work folder is %s; remove it when you have seen enough", b.work.Path)
	}
	return errors.Join(errs...)
}

func letGo(w *run.WorkDir, keep bool) error {
	if keep {
		w.Keep()
		return nil
	}
	return w.Remove()
}

// workPrefix begins the name of the work folder in the output folder.
const workPrefix = ".work-"

// Sweep removes the work folders that a killed build has left in its output and
// cache folders, unless another build is using them.
func Sweep(output, cacheDir string) error {
	if _, err := os.Stat(output); err == nil {
		unlock, err := lockFolder(output, 0)
		if err != nil {
			return err
		}
		defer unlock()
	}
	return run.Explain(run.Sweep(filepath.Join(cacheDir, workDir), rootPrefix, 0))
}

// lockFolder keeps a second build out of the same output folder, and removes
// the work folders of builds that were killed together with their guards.
func lockFolder(dir string, minAge time.Duration) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, run.Explain(err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, run.Explain(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fault.Errorf(fault.Input, "%s: another build is writing into this folder; wait for it, or choose another --output", dir)
	}
	if err := run.Sweep(dir, workPrefix, minAge); err != nil {
		_ = lock.Close()
		return nil, fault.Wrap(fault.Environment, fmt.Errorf("remove what a killed build left: %w", err))
	}
	return func() { _ = lock.Close() }, nil
}
