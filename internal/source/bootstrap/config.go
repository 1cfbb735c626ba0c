// Package bootstrap makes a root filesystem of Debian or Ubuntu from nothing
// but packages, with mmdebstrap.
//
//	source:
//	  bootstrap:
//	    distribution: debian
//	    release: bookworm
//	    packages: [linux-image-amd64, openssh-server]
//
// It works as root, as root of a container that may not mount, and as root of
// a user namespace. Packages are kept between builds, and none is downloaded
// twice. Where namespaces are allowed, everything runs in its own, so that
// nothing is left however a build ends.
//
// It refuses releases that mmdebstrap does not know how to find, unsigned
// repositories, and options that would reach a shell or apt's configuration.
package bootstrap

import (
	"regexp"
	"strings"

	"github.com/org/imagebuild-action/internal/template"
)

// Config is what stands under source.bootstrap.
type Config struct {
	Distribution string       `yaml:"distribution" enum:"debian,ubuntu" doc:"The distribution."`
	Release      string       `yaml:"release" required:"true" pattern:"^[a-z][a-z0-9-]*$" doc:"The release's code name, as bookworm."`
	Mirror       string       `yaml:"mirror" doc:"URL of the archive; without it, the distribution's own with its security and updates suites. A mirror given is used for the release's main suite alone."`
	Components   []string     `yaml:"components" nonempty:"true" pattern:"^[a-z][a-z0-9-]*$" doc:"Parts of the archive; main by default, and universe for Ubuntu."`
	Variant      string       `yaml:"variant" enum:"minbase,apt,essential,required,important,standard,buildd" doc:"The set of packages to start from; minbase is the smallest that has apt."`
	Packages     []string     `yaml:"packages" pattern:"^[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?([=/][A-Za-z0-9.+:~-]+)?$" doc:"Packages to install on top: a name, name=version or name/suite."`
	Repositories []Repository `yaml:"repositories" doc:"Further signed package archives; they stay configured in the image."`
	Recommends   bool         `yaml:"recommends" doc:"Also install what the packages recommend."`
}

// Repository is a further package archive.
type Repository struct {
	URL        string   `yaml:"url" required:"true" doc:"Where it is."`
	Suites     []string `yaml:"suites" required:"true" nonempty:"true" pattern:"^[A-Za-z0-9][A-Za-z0-9./_-]*$" doc:"Its suites; one that ends in a slash is a flat archive and has no components."`
	Components []string `yaml:"components" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" doc:"Its components; main by default."`
	Key        string   `yaml:"key" required:"true" doc:"The file with its OpenPGP public key, armored or not."`
}

// New returns a configuration with its defaults.
func New() *Config { return &Config{Distribution: "debian", Variant: "minbase"} }

var _ interface {
	template.Validator
	template.FileNamer
} = (*Config)(nil)

const urlPattern = `^(https?|ftp|file|copy|mirror\+https?)://?[A-Za-z0-9._~:/@%+\[\]-]+$`

// Validate implements template.Validator.
func (c *Config) Validate(faults template.Faults) {
	if len(c.Components) == 0 {
		c.Components = []string{"main"}
		if c.Distribution == "ubuntu" {
			c.Components = append(c.Components, "universe")
		}
	}
	url := regexp.MustCompile(urlPattern)
	if c.Mirror != "" && !url.MatchString(c.Mirror) {
		faults.Add("mirror", "%q is not the URL of an archive; write http://, https:// or file:// and a path, without a query", c.Mirror)
	}
	for i := range c.Repositories {
		r := &c.Repositories[i]
		if !url.MatchString(r.URL) {
			faults.Add(at("repositories", i)+".url", "%q is not the URL of an archive; write http://, https:// or file:// and a path, without a query", r.URL)
		}
		flat := 0
		for _, suite := range r.Suites {
			if strings.HasSuffix(suite, "/") {
				flat++
			}
		}
		switch {
		case flat > 0 && (flat < len(r.Suites) || len(r.Components) > 0):
			faults.Add(at("repositories", i)+".suites", "a suite that ends in a slash is a flat archive: it goes alone, and without components")
		case flat == 0 && len(r.Components) == 0:
			r.Components = []string{"main"}
		}
	}
}

// Files implements template.FileNamer.
func (c *Config) Files() []template.FileRef {
	var files []template.FileRef
	for i, r := range c.Repositories {
		files = append(files, template.FileRef{Field: at("repositories", i) + ".key", Path: r.Key})
	}
	return files
}
