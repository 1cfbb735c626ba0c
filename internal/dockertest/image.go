package dockertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

// Image is the name of the project's image.
const Image = "imagebuild-test:latest"

// recipeLabel marks a base image with how it was made; another one is made anew.
const recipeLabel = "org.imagebuild.test-recipe"

// BuildImage builds the project's image with its Dockerfile and returns its
// name. Layers of earlier builds are used where nothing has changed.
func (d *Docker) BuildImage(t testing.TB) string {
	t.Helper()
	root := moduleRoot(t)
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	base := argument(t, string(text), "BASE_IMAGE")
	d.makeBase(t, base)
	d.makeGo(t, argument(t, string(text), "GO_IMAGE"), base)
	begun := time.Now()
	d.Output(t, "build", "--quiet", "--network", "host", "--tag", Image,
		"--build-arg", "GOPROXY="+goEnv(t, "GOPROXY"), "--build-arg", "VERSION=0.0.0-test", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", root)
	t.Logf("built %s in %.0f s", Image, time.Since(begun).Seconds())
	// Layers that no later build uses would fill the disk one day.
	d.Output(t, "image", "prune", "--force", "--filter", "until=168h")
	return Image
}

// argument returns the default of an ARG in a Dockerfile.
func argument(t testing.TB, dockerfile, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^ARG ` + name + `=(\S+)$`).FindStringSubmatch(dockerfile)
	if found == nil {
		t.Fatalf("the Dockerfile has no ARG %s with a default", name)
	}
	return found[1]
}

// fresh reports whether there is an image of that name made by that recipe.
func (d *Docker) fresh(t testing.TB, name, recipe string) bool {
	t.Helper()
	out, err := run.Output(t.Context(), d.Spec("image", "inspect", "--format", `{{index .Config.Labels "`+recipeLabel+`"}}`, name))
	return err == nil && strings.TrimSpace(out) == recipe
}

// makeBase makes the base image, "debian:SUITE-slim", from packages. The file of
// trusted authorities is this machine's, because downloads may pass through a
// proxy that only it knows.
func (d *Docker) makeBase(t testing.TB, name string) {
	t.Helper()
	suite, slim := strings.CutSuffix(strings.TrimPrefix(name, "debian:"), "-slim")
	if !slim {
		t.Fatalf("base image %q: want debian:SUITE-slim, which this can make", name)
	}
	recipe := "minbase-1-" + suite
	if d.fresh(t, name, recipe) {
		return
	}
	begun := time.Now()
	archive := filepath.Join(t.TempDir(), "base.tar")
	bundle := "/etc/ssl/certs/ca-certificates.crt"
	must(t, run.Spec{Argv: []string{
		testkit.Tool(t, "mmdebstrap"), "--variant=minbase", "--customize-hook=mkdir -p \"$1/etc/ssl/certs\"",
		"--customize-hook=upload " + bundle + " " + bundle, suite, archive,
	}, Group: true})
	d.Output(t, "import", "--change", "LABEL "+recipeLabel+"="+recipe, "--change", `CMD ["bash"]`, archive, name)
	t.Logf("made %s in %.0f s", name, time.Since(begun).Seconds())
}

// makeGo makes the image that has Go, from the one installed here.
func (d *Docker) makeGo(t testing.TB, name, base string) {
	t.Helper()
	recipe := "1-" + goEnv(t, "GOVERSION")
	if d.fresh(t, name, recipe) {
		return
	}
	file := filepath.Join(t.TempDir(), "Dockerfile")
	text := "FROM " + base + "\nCOPY . /usr/local/go\nENV GOTOOLCHAIN=local PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Output(t, "build", "--quiet", "--label", recipeLabel+"="+recipe, "--tag", name, "--file", file, goEnv(t, "GOROOT"))
}

func goEnv(t testing.TB, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatalf("go env %s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

func must(t testing.TB, spec run.Spec) {
	t.Helper()
	if err := run.Run(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
}
