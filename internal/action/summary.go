package action

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/failure"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
)

// summary is what the run's page shows of this job.
type summary struct {
	title     string
	facts     [][2]string // what, and how it was
	result    *build.Result
	reproduce []string // a command's words
	commit    string
	err       error
	failure   string // folder of the failure bundle, from the workspace
	// failureFiles are what it holds.
	failureFiles []failure.Entry
}

func (s *summary) fact(what, format string, args ...any) {
	s.facts = append(s.facts, [2]string{what, fmt.Sprintf(format, args...)})
}

// markdown renders the summary. Text from outside is escaped, so that it
// cannot make links, images or tables of its own.
func (s *summary) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n", escape(s.title))
	if s.err != nil {
		fmt.Fprintf(&b, "**Failed:** %s\n\n", escape(s.err.Error()))
	}
	if s.failure != "" {
		failureBundle(&b, s.failure, s.failureFiles)
	}
	if len(s.facts) > 0 {
		b.WriteString("| | |\n|---|---|\n")
		for _, fact := range s.facts {
			fmt.Fprintf(&b, "| %s | %s |\n", escape(fact[0]), fact[1])
		}
		b.WriteString("\n")
	}
	if r := s.result; r != nil {
		artifacts(&b, r)
		sameness(&b, r)
		stages(&b, r)
	}
	if len(s.reproduce) > 0 {
		b.WriteString("### The same on your machine\n\n```sh\n")
		if s.commit != "" {
			fmt.Fprintf(&b, "git checkout %s\n", s.commit)
		}
		fmt.Fprintf(&b, "%s\n```\n\n", run.Quote(s.reproduce))
	}
	return b.String()
}

// failureBundle lists what is left of a failed build. A summary cannot link to
// a file of the runner's, which is gone with the job, so it says how to keep it.
func failureBundle(b *strings.Builder, dir string, files []failure.Entry) {
	fmt.Fprintf(b, "What is left of it is in %s. To keep that, add a step after this one:\n\n", code(dir))
	fmt.Fprintf(b, "```yaml\n- if: failure()\n  uses: actions/upload-artifact@v7\n  with: {name: \"failure-${{ strategy.job-index }}\", path: %q}\n```\n\n", dir)
	b.WriteString("| file | size | what it is |\n|---|---:|---|\n")
	for _, f := range files[:min(len(files), maxFailureFiles)] {
		fmt.Fprintf(b, "| %s | %s | %s |\n", escape(f.Path), size.Bytes(f.SizeBytes).Human(), escape(f.About))
	}
	if over := len(files) - maxFailureFiles; over > 0 {
		fmt.Fprintf(b, "| and %d more | | |\n", over)
	}
	b.WriteString("\n")
}

// maxFailureFiles bounds the list: a summary has a megabyte for everything.
const maxFailureFiles = 50

func artifacts(b *strings.Builder, r *build.Result) {
	if len(r.Artifacts) == 0 {
		return
	}
	b.WriteString("### Artifacts\n\n| file | size | SHA-256 | proof |\n|---|---:|---|---|\n")
	for _, a := range r.Artifacts {
		if a.Path == "" && a.Reference != "" {
			fmt.Fprintf(b, "| %s in %s | | | %s |\n", code(a.Reference), escape(a.Region), proof(r, a))
			continue
		}
		fmt.Fprintf(b, "| %s | %s | `%s` | %s |\n", code(cmp.Or(a.Name, a.Path)), size.Bytes(a.SizeBytes).Human(), a.SHA256, proof(r, a))
	}
	b.WriteString("\n")
}

func proof(r *build.Result, a image.Artifact) string {
	text := r.Proof(a.Name)
	for _, v := range r.Verified {
		if v.Artifact != a.Name {
			continue
		}
		for _, s := range v.Substitutions {
			text += "; " + s.String()
		}
	}
	return escape(text)
}

// sameness says what the platforms have in common, and every difference.
func sameness(b *strings.Builder, r *build.Result) {
	if len(r.Trees) == 0 {
		return
	}
	b.WriteString("### The same on every platform\n\n")
	for _, t := range r.Trees {
		if t.SHA256 == "" {
			continue
		}
		what := "one root filesystem"
		if t.KeptDisk {
			what = "one disk, as a machine left it"
		}
		entries := fmt.Sprintf("%d entries", t.Entries)
		if t.Entries == 0 {
			entries = "files that cannot be read"
		}
		fmt.Fprintf(b, "- %s: %s, `sha256:%s`, %s, %s\n",
			escape(strings.Join(t.Platforms, ", ")), what, t.SHA256, entries, size.Bytes(t.SizeBytes).Human())
		for _, d := range t.Overlay {
			fmt.Fprintf(b, "  - boxes have besides: %s (%s)\n", code(d.Path), escape(d.Why))
		}
	}
	for _, d := range r.Differences {
		fmt.Fprintf(b, "- declared difference: %s, for %s (%s)\n", escape(d.Step), escape(strings.Join(d.Platforms, ", ")), escape(d.Reason))
	}
	b.WriteString("\n")
}

func stages(b *strings.Builder, r *build.Result) {
	fmt.Fprintf(b, "<details><summary>%s in all</summary>\n\n| stage | time |\n|---|---:|\n", human(r.Seconds))
	for _, s := range r.Stages {
		fmt.Fprintf(b, "| %s | %s |\n", escape(s.Stage), human(s.Seconds))
	}
	for _, t := range r.Trees {
		for _, s := range t.Steps {
			took := human(s.Seconds)
			if s.Cached {
				took = "cached"
			}
			fmt.Fprintf(b, "| step: %s | %s |\n", escape(s.Name), took)
		}
	}
	b.WriteString("\n</details>\n\n")
}

func human(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(100 * time.Millisecond).String()
}

// special are the characters that mean something in GitHub's Markdown, or in
// the HTML that it lets through.
const special = "\\`*_{}[]()<>#+!|~&@"

// escape makes any text one line that Markdown shows as it is.
func escape(text string) string {
	var b strings.Builder
	for _, r := range strings.Join(strings.Fields(text), " ") {
		switch {
		case r < 0x20 || r == 0x7f:
			continue
		case strings.ContainsRune(special, r):
			fmt.Fprintf(&b, "&#%d;", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// code shows a name as code; names have no back quotes, but if one had, it
// must not end the code.
func code(text string) string {
	return "`" + strings.Join(slices.Collect(strings.SplitSeq(strings.Join(strings.Fields(text), " "), "`")), "'") + "`"
}
