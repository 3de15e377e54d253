// Package config reads the configuration of a key server: one YAML file,
// read strictly, with flags over it, becomes one typed value. It opens no
// store and starts nothing: kms/home and kms/daemon do, with what stands
// here. docs/kms.md describes every key.
//
// To add a section: write a file with a struct whose fields have yaml tags
// and a method check() error on its pointer, and add one field of that type
// to Config. What check finds wrong it answers with faultf("key", …): the
// message then names the file's line, or the flag. It may also fill in
// defaults and read files (a wrong reload must fail there). A field tagged
// restart:"yes" is only read at start: when it changed, a reload says so and
// applies the rest. A flag is one line in flags.go.
package config

import (
	"cmp"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/internal/strictyaml"
)

// A Config is the whole configuration. Zero values are the defaults.
type Config struct {
	Data      string        `yaml:"data" restart:"yes"`
	Mark      string        `yaml:"mark" restart:"yes"`         // file of the high-water mark
	Modes     *bool         `yaml:"strict-modes" restart:"yes"` // nil is true
	Store     Store         `yaml:"store" restart:"yes"`
	Wrapping  Wrapping      `yaml:"wrapping"`
	Enroll    Enrollment    `yaml:"enroll" restart:"yes" words:"approve closed cert tofu"`
	Listen    Listeners     `yaml:"listen" restart:"yes"`
	Talos     Talos         `yaml:"talos"`
	Kairos    KairosSection `yaml:"kairos" restart:"yes"`
	Tang      TangSection   `yaml:"tang"`
	K8s       K8sPlugins    `yaml:"k8s" restart:"yes"`
	Metrics   Metrics       `yaml:"metrics"`
	Advertise []string      `yaml:"advertise" restart:"yes"` // names for multicast DNS
	Admin     Admin         `yaml:"admin"`
	Hooks     Hooks         `yaml:"hooks" restart:"yes"`
	EK        EK            `yaml:"ek"`
	Policy    Policy        `yaml:"policy"`
	Log       Log           `yaml:"log"`
	Audit     Audit         `yaml:"audit"`
	Backup    Backup        `yaml:"backup" restart:"yes"`
	Retention Retention     `yaml:"retention"`
	Recovery  Recovery      `yaml:"recovery"`
	Sites     SitesSection  `yaml:"sites"`

	File  string           // the file's path, "" if there is none
	where strictyaml.Lines // or the flag that set a key
}

// DefaultData is where a KMS keeps its keys and database.
const DefaultData = "/var/lib/latchkey-kms"

// A section is a part of the configuration that judges itself.
type section interface{ check() error }

// Read reads a file; "" is an empty configuration. Nothing is judged yet
// but the file's form.
func Read(path string) (*Config, error) {
	c := &Config{File: path, where: strictyaml.Lines{}}
	if path == "" {
		return c, nil
	}
	text, err := datafile.Read(path, maxFile)
	if err != nil {
		return nil, &cli.Exit{Code: cli.Usage, Err: fmt.Errorf("reading the configuration: %w", err)}
	}
	if err := strictyaml.Decode(path, text, c, c.where); err != nil {
		return nil, &cli.Exit{Code: cli.Usage, Err: err}
	}
	return c, nil
}

// set says that a flag set a key, for messages.
func (c *Config) set(key, flag string) { c.where[key] = flag }

// check judges all sections, then what only holds for them together. Its
// errors are usage errors that name the line or the flag.
func (c *Config) check() error {
	if err := c.checkAll(); err != nil {
		return &cli.Exit{Code: cli.Usage, Err: c.locate(err)}
	}
	return nil
}

func (c *Config) checkAll() error {
	if err := c.checkZeros(); err != nil {
		return err
	}
	for name, s := range c.sections() {
		if err := s.check(); err != nil {
			return under(name, err)
		}
	}

	switch c.Enroll {
	case "":
		c.Enroll = Approve
	case Closed:
		c.Talos.Enroll = cmp.Or(c.Talos.Enroll, Closed)
	case Approve, Tofu:
	case Cert:
		if c.EK.Roots == "" {
			return faultf("enroll", "cert needs a folder of vendors' certificates: --ek-roots, or ek.roots")
		}
	default:
		return faultf("enroll", "%q must be approve, closed, cert or tofu", c.Enroll)
	}

	if len(c.Listen) == 0 && c.Talos.Address == "" && len(c.K8s) == 0 {
		return faultf("listen", "nothing is served: there is no address for machines, no talos.address and no k8s socket")
	}
	for i, name := range c.Advertise {
		if host, ok := strings.CutSuffix(strings.ToLower(strings.TrimSuffix(name, ".")), ".local"); !ok || host == "" {
			return faultf("advertise["+strconv.Itoa(i)+"]", "%q must be a name that ends in .local, such as kms.local", name)
		}
	}
	if len(c.Advertise) > 0 && len(c.Listen) == 0 {
		return faultf("advertise", "there is no address for machines to advertise: listen is empty, and Talos does not search")
	}
	if err := c.Tang.checkListeners(c.Listen); err != nil {
		return err
	}
	if err := c.Hooks.checkLinks(&c.Admin); err != nil {
		return err
	}
	l, err := c.location()
	if err != nil {
		return err
	}
	return c.K8s.checkStore(l.Place.Kind)
}

// sections finds the fields that are sections, by their YAML name.
func (c *Config) sections() func(func(string, section) bool) {
	return func(yield func(string, section) bool) {
		v := reflect.ValueOf(c).Elem()
		for i := range v.NumField() {
			name := strictyaml.KeyOf(v.Type().Field(i))
			if name == "" {
				continue
			}
			if s, ok := v.Field(i).Addr().Interface().(section); ok && !yield(name, s) {
				return
			}
		}
	}
}
