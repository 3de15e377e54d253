package main

// The configuration of a key server: one YAML file, read strictly, with
// flags over it. docs/kms.md describes every key.
//
// To add a section: write config_NAME.go with a struct whose fields have
// yaml tags and a method check() error on its pointer, and add one field of
// that type to config. What check finds wrong it answers with
// faultf("key", …): the message then names the file's line, or the flag. It
// may also fill in defaults and read files (a wrong reload must fail there).
// A method apply(*server.Server) on the pointer hands the section to the
// server, before the first machine is answered and after each reload; it
// cannot fail. A field tagged restart:"yes" is only read at start: when it
// changed, a reload says so and applies the rest. A flag is one line in
// flagged (serve.go) or, for a flag of all commands, in override.

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"latchkey/internal/cli"
	"latchkey/kms/server"
)

// A config is the whole configuration. Zero values are the defaults.
type config struct {
	Data      string            `yaml:"data" restart:"yes"`
	Store     storeSection      `yaml:"store" restart:"yes"`
	Wrapping  wrappingSection   `yaml:"wrapping"`
	Enroll    server.Enrollment `yaml:"enroll" restart:"yes"`
	Listen    listenSection     `yaml:"listen" restart:"yes"`
	Talos     talosSection      `yaml:"talos"`
	K8s       k8sSection        `yaml:"k8s" restart:"yes"`
	Metrics   metricsSection    `yaml:"metrics"`
	Advertise []string          `yaml:"advertise" restart:"yes"` // names for multicast DNS
	Admin     adminSection      `yaml:"admin"`
	Hooks     hooksSection      `yaml:"hooks" restart:"yes"`
	EK        ekSection         `yaml:"ek"`
	Policy    policySection     `yaml:"policy"`

	file  string            // "" if there is none
	where map[string]string // key path → "kms.yaml:3", or the flag that set it
}

// A section is a part of the configuration that judges itself.
type section interface{ check() error }

// An applied section is handed to the server at start and after a reload.
type applied interface{ apply(*server.Server) }

// readConfig reads a file; "" is an empty configuration.
func readConfig(path string) (*config, error) {
	c := &config{file: path, where: map[string]string{}}
	if path == "" {
		return c, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &cli.Exit{Code: cli.Usage, Err: fmt.Errorf("reading the configuration: %w", err)}
	}
	if err := decodeYAML(filepath.Base(path), text, c, c.where); err != nil {
		return nil, &cli.Exit{Code: cli.Usage, Err: err}
	}
	return c, nil
}

// set says that a flag set a key, for messages.
func (c *config) set(key, flag string) { c.where[key] = flag }

// check judges all sections, then what only holds for them together.
func (c *config) check() error {
	if err := c.checkAll(); err != nil {
		return &cli.Exit{Code: cli.Usage, Err: c.locate(err)}
	}
	return nil
}

func (c *config) checkAll() error {
	for name, s := range c.sections() {
		if err := s.check(); err != nil {
			return under(name, err)
		}
	}
	switch c.Enroll {
	case "":
		c.Enroll = server.Approve
	case server.Closed:
		c.Talos.Enroll = cmp.Or(c.Talos.Enroll, server.Closed)
	case server.Approve, server.Tofu:
	case server.Cert:
		if c.EK.Roots == "" {
			return faultf("enroll", "cert needs a folder of vendors' certificates: --ek-roots, or ek.roots")
		}
	default:
		return faultf("enroll", "%q must be approve, closed, cert or tofu", c.Enroll)
	}
	return nil
}

// sections finds the fields that are sections, by their YAML name.
func (c *config) sections() func(func(string, section) bool) {
	return func(yield func(string, section) bool) {
		v := reflect.ValueOf(c).Elem()
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				continue
			}
			if s, ok := v.Field(i).Addr().Interface().(section); ok && !yield(keyOf(v.Type().Field(i)), s) {
				return
			}
		}
	}
}

// apply hands all sections to the server.
func (c *config) apply(s *server.Server) {
	for _, section := range c.sections() {
		if a, ok := section.(applied); ok {
			a.apply(s)
		}
	}
}

// keyOf is a field's YAML name.
func keyOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

// A fault is what is wrong with one key.
type fault struct {
	key string // a path: listen[0].tls.cert
	err error
}

func (f *fault) Error() string { return f.key + ": " + f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// faultf says what is wrong with a key of the section that calls it; "" is
// the section itself.
func faultf(key, format string, args ...any) error {
	return &fault{key, fmt.Errorf(format, args...)}
}

// under puts a fault below a section's key.
func under(name string, err error) error {
	f, ok := errors.AsType[*fault](err)
	if !ok {
		return &fault{name, err}
	}
	if f.key == "" || strings.HasPrefix(f.key, "[") {
		return &fault{name + f.key, f.err}
	}
	return &fault{name + "." + f.key, f.err}
}

// locate puts the file's line, or the flag, before a fault.
func (c *config) locate(err error) error {
	f, ok := errors.AsType[*fault](err)
	if !ok {
		return err
	}
	for key := f.key; key != ""; key = key[:max(strings.LastIndexAny(key, ".["), 0)] {
		at, known := c.where[key]
		switch {
		case known && strings.HasPrefix(at, "--"):
			return fmt.Errorf("%s: %w", at, f.err)
		case known:
			return fmt.Errorf("%s: %w", at, f)
		}
	}
	return f
}
