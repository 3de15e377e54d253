// Package initramfs makes the image: it reads latchkey.yaml, compiles it
// into the plan file, gathers the kernel modules that the machine needs
// and writes everything as one reproducible archive.
package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"go.yaml.in/yaml/v3"

	"latchkey/internal/plan"
)

// maxConfig caps latchkey.yaml, in bytes.
const maxConfig = 1 << 20

// A Config is latchkey.yaml. docs/plan.md describes every field.
type Config struct {
	Trust struct {
		KMS []plan.PublicKey `yaml:"kms"`
	} `yaml:"trust"`
	Find struct {
		URLs     []string      `yaml:"urls"`
		Services []string      `yaml:"services"`
		Timeout  time.Duration `yaml:"timeout"`
		Report   *bool         `yaml:"report"`
	} `yaml:"find"`
	// Net holds kernel command line words: one grammar for both places.
	Net string `yaml:"net"`
	TPM struct {
		EK string `yaml:"ek"`
	} `yaml:"tpm"`
	Volumes []VolumeConfig `yaml:"volumes"`
	// HeadStart is how much earlier a source begins than the next one.
	HeadStart *time.Duration `yaml:"head-start"`
	Root      struct {
		Device string `yaml:"device"`
		FSType string `yaml:"fstype"`
		Flags  string `yaml:"flags"`
		RW     bool   `yaml:"rw"`
		Init   string `yaml:"init"`
	} `yaml:"root"`
	OnFail struct {
		Action string         `yaml:"action"`
		After  *time.Duration `yaml:"after"`
	} `yaml:"on-fail"`
	Wait    *time.Duration `yaml:"wait"`
	Modules ModulesConfig  `yaml:"modules"`
	Stub    struct {
		Credentials []string `yaml:"credentials"`
		Addons      bool     `yaml:"addons"`
	} `yaml:"stub"`
	Image ImageConfig `yaml:"image"`
	Debug bool        `yaml:"debug"`
}

// A VolumeConfig is one entry of "volumes".
type VolumeConfig struct {
	UUID    string         `yaml:"uuid"`
	Name    string         `yaml:"name"`
	Serial  string         `yaml:"serial"`
	Sources []SourceConfig `yaml:"sources"`
	Digest  string         `yaml:"digest"`
	Options []string       `yaml:"options"`
	NoFail  bool           `yaml:"nofail"`
	LUKS1   bool           `yaml:"luks1"`
}

// ModulesConfig says which kernel modules go into the image.
type ModulesConfig struct {
	// Set is "universal" (any machine, the default), "host" (what this
	// machine's devices ask for) or "none".
	Set     string   `yaml:"set"`
	Add     []string `yaml:"add"`     // names, always loaded
	Exclude []string `yaml:"exclude"` // names, never in the image
	// Parameters are MODULE.PARAM=VALUE, for modules in the image.
	Parameters []string `yaml:"parameters"`
}

// ReadConfig reads latchkey.yaml. Unknown fields, second documents and
// rule breaks are errors that name the line or the field.
func ReadConfig(r io.Reader) (*Config, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}

	if len(text) > maxConfig {
		return nil, fmt.Errorf("reading the configuration: more than %d bytes", maxConfig)
	}
	var c Config
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file is empty")
		}
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}

	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("reading the configuration: there is a second document or trailing text")
	}
	if err := c.Image.check(); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return &c, nil
}

// Plan compiles the configuration. The always-loaded modules are added
// by Build, which knows what the kernel has.
func (c *Config) Plan() (*plan.Plan, error) {
	args, err := plan.SplitCmdline(c.Net)
	if err != nil {
		return nil, err
	}

	net, problems := plan.ParseNet(args)
	if len(problems) > 0 {
		return nil, fmt.Errorf("net: %s", problems[0])
	}

	p := &plan.Plan{
		Version: plan.Version, Trust: plan.Trust{KMS: c.Trust.KMS}, Net: net,
		Find: plan.Find{
			URLs: c.Find.URLs, Services: c.Find.Services, Timeout: c.Find.Timeout,
			NoReport: c.Find.Report != nil && !*c.Find.Report,
		},
		TPM:    plan.TPM{EK: c.TPM.EK},
		Root:   plan.Root{Device: c.Root.Device, FSType: c.Root.FSType, Flags: c.Root.Flags, ReadWrite: c.Root.RW, Init: c.Root.Init},
		OnFail: plan.OnFail{Action: "reboot", After: time.Minute}, Wait: 180 * time.Second,
		Stub: plan.Stub{Credentials: c.Stub.Credentials, Addons: c.Stub.Addons}, Debug: c.Debug, HeadStart: plan.DefaultHeadStart,
	}
	if c.HeadStart != nil {
		p.HeadStart = *c.HeadStart
	}
	if len(p.Find.URLs)+len(p.Find.Services) == 0 {
		p.Find.Services = []string{"_latchkey._tcp"}
	}

	if c.OnFail.Action != "" {
		p.OnFail.Action = c.OnFail.Action
	}
	if c.OnFail.After != nil {
		p.OnFail.After = *c.OnFail.After
	}

	if c.Wait != nil {
		p.Wait = *c.Wait
	}
	for i, v := range c.Volumes {
		p.Volumes = append(p.Volumes, v.volume(i, p))
	}

	return p, p.Check()
}

// volume compiles one volume, and adds to the plan the key files that it
// names.
func (v VolumeConfig) volume(i int, p *plan.Plan) plan.Volume {
	name := v.Name
	if name == "" && i == 0 {
		name = "root"
	}
	var sources []string
	for _, s := range v.Sources {
		sources = append(sources, s.name(p))
	}
	if len(sources) == 0 {
		sources = []string{plan.SourceKMS}
	}
	return plan.Volume{UUID: v.UUID, Name: name, Serial: v.Serial, Sources: sources, Digest: v.Digest, Options: v.Options, NoFail: v.NoFail, LUKS1: v.LUKS1}
}
