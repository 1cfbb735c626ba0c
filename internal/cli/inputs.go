package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
)

// inputs are the flags of every command that reads a template.
type inputs struct {
	vars      []string
	varFiles  []string
	platforms []string
	arch      string
	version   string
}

func (in *inputs) register(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&in.vars, "var", nil, "set a variable, as name=value (repeatable)")
	f.StringArrayVar(&in.varFiles, "var-file", nil, "read variables from a YAML file of name: value (repeatable)")
	f.StringSliceVarP(&in.platforms, "platform", "p", nil, "only these platforms of the template")
	f.StringVar(&in.arch, "arch", "", "only this architecture")
	f.StringVar(&in.version, "version", "", "version of the image (default: the template's)")
	_ = c.RegisterFlagCompletionFunc("platform", completePlatforms)
	_ = c.RegisterFlagCompletionFunc("arch", cobra.FixedCompletions([]string{"amd64"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("var", cobra.NoFileCompletions)
	_ = c.RegisterFlagCompletionFunc("version", cobra.NoFileCompletions)
}

// completePlatforms offers the platforms of the template on the command line.
func completePlatforms(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	path, err := templateArgument(args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return build.PlatformNames(path), cobra.ShellCompDirectiveNoFileComp
}

// options turns arguments and environment into what a build is given.
func (a *app) options(args []string, in inputs) (build.Options, error) {
	path, err := templateArgument(args)
	if err != nil {
		return build.Options{}, err
	}
	vars, err := readVars(in)
	if err != nil {
		return build.Options{}, err
	}
	epoch, err := build.Epoch(a.LookupEnv)
	if err != nil {
		return build.Options{}, err
	}
	return build.Options{
		Template: path, Vars: vars, LookupEnv: a.LookupEnv, Platforms: in.platforms, Arch: in.arch,
		Version: in.version, Epoch: epoch, Secrets: a.secrets, Generator: "imagebuild " + version(),
	}, nil
}

func readVars(in inputs) (map[string]string, error) {
	vars := map[string]string{}
	for _, name := range in.varFiles {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fault.Errorf(fault.Input, "--var-file: %w", err)
		}
		if err := yaml.Unmarshal(text, &vars); err != nil {
			return nil, fault.Errorf(fault.Input, "--var-file %s: want lines of name: value: %w", name, err)
		}
	}
	for _, each := range in.vars {
		name, value, found := strings.Cut(each, "=")
		if !found || name == "" {
			return nil, fault.Errorf(fault.Input, "--var %q: want name=value", each)
		}
		vars[name] = value
	}
	return vars, nil
}

// cacheDir is where downloads and checkpoints are kept between builds.
func (a *app) cacheDir(flag string) (string, error) {
	if flag != "" {
		return filepath.Abs(flag)
	}
	return build.CacheDir(a.LookupEnv)
}

func parseStage(name string) (build.Stage, error) {
	for _, stage := range build.Stages {
		if string(stage) == name {
			return stage, nil
		}
	}
	return "", fault.Errorf(fault.Input, "--until %q: want one of %s", name, strings.Trim(fmt.Sprint(build.Stages), "[]"))
}
