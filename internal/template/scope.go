package template

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/redact"
)

// Scope is everything that a template's expressions may look up.
type Scope struct {
	Vars     map[string]string           // from the command line; they win over env and default
	Env      func(string) (string, bool) // the environment; nil means empty
	Version  string                      // of the image; empty means the template's own
	Arch     string                      // empty stands for the platform's first
	Tag      string                      // that is being released; empty means none
	Platform Target                      // empty stands for the template's first
	Matrix   map[string]string           // of the workflow's job
	Redact   *redact.Set                 // learns the sensitive values
}

// Target is a platform as a template names it.
type Target struct{ Name, Type string }

// variable is one entry of the variables section.
type variable struct {
	Default     *text  `yaml:"default" doc:"The value when nobody gives another one."`
	Env         string `yaml:"env" pattern:"^[A-Za-z_][A-Za-z0-9_]*$" hint:"the name of an environment variable" doc:"Environment variable that gives the value; empty counts as unset."`
	Sensitive   bool   `yaml:"sensitive" doc:"Mask the value wherever it would be printed, and keep it out of the plan."`
	Required    *bool  `yaml:"required" doc:"Whether it is a fault to have no value; true unless there is a default."`
	Description string `yaml:"description" doc:"What the variable is for."`
}

// variablePattern is what a variable's name looks like.
const variablePattern = `^[A-Za-z_][A-Za-z0-9_-]*$`

// text is a string that may be written as any scalar.
type text string

// value is what a look-up found.
type value struct {
	text      string
	defined   bool
	sensitive bool
	broken    bool // a fault was reported already; say no more
}

// lookup answers expressions.
type lookup struct {
	vars      map[string]value
	env       func(string) (string, bool)
	secretEnv map[string]bool // environment variables that feed sensitive variables
	image     map[string]value
	platform  map[string]value
	matrix    map[string]string
	closed    bool // no expression can stand here
}

// scopes are the words that can stand before the dot.
var scopes = []string{"var", "env", "image", "platform", "matrix"} //nolint:gochecknoglobals // a constant list

// find looks one operand up. An error means that there can be no such name.
func (l *lookup) find(o operand) (value, error) {
	if l.closed {
		return value{}, errors.New("expressions cannot stand under variables; put them where the variable is used")
	}
	switch o.scope {
	case "":
		return value{text: o.literal, defined: true}, nil
	case "var":
		if v, ok := l.vars[o.name]; ok {
			return v, nil
		}
		return value{}, fmt.Errorf("undefined variable %q; declare it under variables%s", o.name, suggest(o.name, slices.Sorted(maps.Keys(l.vars))))
	case "env":
		if l.env == nil {
			return value{}, nil
		}
		v, ok := l.env(o.name)
		return value{text: v, defined: ok, sensitive: l.secretEnv[o.name]}, nil
	case "matrix":
		v, ok := l.matrix[o.name]
		return value{text: v, defined: ok}, nil
	case "image", "platform":
		known := l.image
		if o.scope == "platform" {
			known = l.platform
		}
		if v, ok := known[o.name]; ok {
			return v, nil
		}
		if len(known) == 0 {
			return value{}, fmt.Errorf("%s.%s cannot be used here", o.scope, o.name)
		}
		return value{}, fmt.Errorf("unknown name %s.%s; known here are %s", o.scope, o.name, join(slices.Sorted(maps.Keys(known)), o.scope+"."))
	}
	return value{}, fmt.Errorf("unknown name %s.%s; a look-up begins with %s", o.scope, o.name, join(scopes, ""))
}

func join(names []string, prefix string) string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = prefix + name
	}
	return strings.Join(all, ", ")
}

// variables gives every declared variable its value.
func (d *decoder) variables(node *yaml.Node, declared map[string]*variable, scope Scope) {
	d.look.vars = make(map[string]value, len(declared))
	d.look.secretEnv = map[string]bool{}
	for name, v := range declared {
		at := mapValue(node, name)
		found := d.variable(name, v, scope)
		if v.Sensitive && v.Env != "" {
			d.look.secretEnv[v.Env] = true
		}
		if required := v.Required == nil || *v.Required; !found.defined && required && v.Default == nil {
			d.add(keyOf(node, name), "variables."+name, "the variable has no value; %s", v.remedy(name))
			found.broken = true
		}
		if found.sensitive {
			if err := scope.Redact.Add(found.text); err != nil {
				d.add(at, "variables."+name, "%v", err)
			}
		}
		d.look.vars[name] = found
	}
	for _, name := range slices.Sorted(maps.Keys(scope.Vars)) {
		if declared[name] == nil {
			d.add(node, "variables", "--var %s: the template has no such variable%s", name, suggest(name, slices.Sorted(maps.Keys(declared))))
		}
	}
}

func (d *decoder) variable(name string, v *variable, scope Scope) value {
	found := value{sensitive: v.Sensitive}
	if given, ok := scope.Vars[name]; ok {
		found.text, found.defined = given, true
	} else if given, ok := fromEnv(scope.Env, v.Env); ok {
		found.text, found.defined = given, true
	} else if v.Default != nil {
		found.text, found.defined = string(*v.Default), true
	}
	return found
}

// fromEnv takes an empty value for none: a workflow hands a secret that it may
// not see over as an empty string.
func fromEnv(env func(string) (string, bool), name string) (string, bool) {
	if env == nil || name == "" {
		return "", false
	}
	given, ok := env(name)
	return given, ok && given != ""
}

func (v *variable) remedy(name string) string {
	if v.Env != "" {
		return fmt.Sprintf("pass --var %s=VALUE, set the environment variable %s, or give it a default", name, v.Env)
	}
	return fmt.Sprintf("pass --var %s=VALUE, or give it a default or an env", name)
}
