// Package initramfs makes the image: it reads latchkey.yaml, compiles it
// into the plan file, gathers the kernel modules that the machine needs
// and writes everything as one reproducible archive.
package initramfs

import (
	"fmt"
	"io"
	"slices"
	"time"

	"latchkey/internal/mapping"
	"latchkey/internal/plan"
	"latchkey/internal/spelling"
	"latchkey/internal/strictyaml"
)

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
		EK   string `yaml:"ek" words:"p256 rsa2048"`
		Kept bool   `yaml:"kept"`
	} `yaml:"tpm"`
	Volumes []VolumeConfig `yaml:"volumes" least:"1"`
	// HeadStart is how much earlier a source begins than the next one.
	HeadStart *time.Duration `yaml:"head-start"`
	// Degraded is how long an array that lacks members is waited for, or
	// "never".
	Degraded string `yaml:"degraded" pattern:"^(never|[+]?(0|([0-9]+[.]?[0-9]*|[.][0-9]+)(ns|us|µs|ms|s|m|h))+)$"`
	Root     struct {
		Device string `yaml:"device"`
		FSType string `yaml:"fstype" words:"ext4 ext3 ext2 xfs btrfs f2fs squashfs erofs"`
		Flags  string `yaml:"flags"`
		RW     bool   `yaml:"rw"`
		Init   string `yaml:"init"`
		// Overlay is "tmpfs", or the device that takes what is written.
		Overlay string `yaml:"overlay"`
	} `yaml:"root"`
	Usr    UsrConfig `yaml:"usr"`
	Resume string    `yaml:"resume"`
	OnFail struct {
		Action string         `yaml:"action" words:"reboot poweroff halt wait"`
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

	file  string            // what errors call it
	root  string            // of the system whose files it names, "" for this one's
	texts map[string]string // keys that are in no file, by what stands for their path
	lines strictyaml.Lines  // where each key stands
}

// A UsrConfig is a /usr that is not in the root.
type UsrConfig struct {
	Device string `yaml:"device"`
	FSType string `yaml:"fstype" words:"ext4 ext3 ext2 xfs btrfs f2fs squashfs erofs"`
	Flags  string `yaml:"flags"`
}

// A VolumeConfig is one entry of "volumes".
type VolumeConfig struct {
	UUID    string         `yaml:"uuid"`
	Name    string         `yaml:"name"`
	Serial  string         `yaml:"serial"`
	Label   string         `yaml:"label"` // of the partition; Kairos makes the UUID of it
	Sources []SourceConfig `yaml:"sources" least:"1"`
	Digest  string         `yaml:"digest" pattern:"^([0-9a-fA-F]{64})?$"`
	Options []string       `yaml:"options" words:"discard read-only no-read-workqueue no-write-workqueue same-cpu-crypt submit-from-crypt-cpus"`
	NoFail  bool           `yaml:"nofail"`
	LUKS1   bool           `yaml:"luks1"`
	Accept  string         `yaml:"accept" words:"strict cryptsetup"`
	// State is the volume that Talos locked this one to.
	State  string        `yaml:"lock-to-state"`
	Header *HeaderConfig `yaml:"header"`
	Data   string        `yaml:"data"`
}

// ModulesConfig says which kernel modules go into the image.
type ModulesConfig struct {
	// Set is "universal" (any machine, the default), "host" (what this
	// machine's devices ask for) or "none".
	Set     string   `yaml:"set" words:"universal host none"`
	Add     []string `yaml:"add"`     // names, always loaded
	Exclude []string `yaml:"exclude"` // names, never in the image
	// Parameters are MODULE.PARAM=VALUE, for modules in the image.
	Parameters []string `yaml:"parameters"`
}

// ReadConfig reads latchkey.yaml; name is what its errors call it. Unknown
// keys, second documents and rule breaks are errors that name the line.
func ReadConfig(name string, r io.Reader) (*Config, error) { return ReadConfigBelow("", name, r) }

// ReadConfigBelow is ReadConfig for the system below a root directory: so are
// the files that the configuration names.
func ReadConfigBelow(root, name string, r io.Reader) (*Config, error) {
	text, err := io.ReadAll(io.LimitReader(r, strictyaml.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}

	c := &Config{file: name, root: root, lines: strictyaml.Lines{}}
	if err := strictyaml.Decode(name, text, c, c.lines); err != nil {
		return nil, err
	}
	if len(c.lines) == 0 {
		return nil, fmt.Errorf("%s: the file is empty", name)
	}
	for i := range c.Volumes {
		if err := c.checkSources(i); err != nil {
			return nil, c.locate(err)
		}
	}
	for _, check := range []func() error{c.Modules.check, c.Image.check} {
		if err := check(); err != nil {
			return nil, c.locate(err)
		}
	}
	return c, nil
}

// check wants a set that there is.
func (c ModulesConfig) check() error {
	if sets := []string{"universal", "host", "none"}; c.Set != "" && !slices.Contains(sets, c.Set) {
		return fmt.Errorf("modules.set is %q%s", c.Set, spelling.Suggest(c.Set, sets))
	}
	return nil
}

// Plan compiles the configuration. The always-loaded modules are added
// by Build, which knows what the kernel has.
func (c *Config) Plan() (*plan.Plan, error) {
	args, err := plan.SplitCmdline(c.Net)
	if err != nil {
		return nil, c.locate(fmt.Errorf("net: %w", err))
	}
	if err := plan.OnlyNet(args); err != nil {
		return nil, c.locate(fmt.Errorf("net: %w", err))
	}

	net, problems := plan.ParseNet(args)
	if len(problems) > 0 {
		return nil, c.locate(fmt.Errorf("net: %s", problems[0]))
	}

	p := &plan.Plan{
		Version: plan.Version, Trust: plan.Trust{KMS: c.Trust.KMS}, Net: net,
		Find: plan.Find{
			URLs: c.Find.URLs, Services: c.Find.Services, Timeout: c.Find.Timeout,
			NoReport: c.Find.Report != nil && !*c.Find.Report,
		},
		TPM:    plan.TPM{EK: c.TPM.EK, Kept: c.TPM.Kept},
		Resume: c.Resume,
		Root:   plan.Root{Device: c.Root.Device, FSType: c.Root.FSType, Flags: c.Root.Flags, ReadWrite: c.Root.RW, Init: c.Root.Init, Overlay: c.Root.Overlay},
		Usr:    plan.Usr{Device: c.Usr.Device, FSType: c.Usr.FSType, Flags: c.Usr.Flags},
		OnFail: plan.OnFail{Action: "reboot", After: time.Minute}, Wait: 180 * time.Second,
		Stub: plan.Stub{Credentials: c.Stub.Credentials, Addons: c.Stub.Addons}, Debug: c.Debug, HeadStart: plan.DefaultHeadStart,
	}
	if c.HeadStart != nil {
		p.HeadStart = *c.HeadStart
	}
	if p.Degraded, err = c.degraded(); err != nil {
		return nil, c.locate(err)
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
		p.Volumes = append(p.Volumes, c.volume(i, v, p))
	}

	if err := p.Check(); err != nil {
		return p, c.locate(err)
	}
	return p, c.locate(checkWaits(p))
}

// degraded is how long an array that lacks members is waited for.
func (c *Config) degraded() (time.Duration, error) {
	switch c.Degraded {
	case "":
		return plan.DefaultDegraded, nil
	case "never":
		return plan.NeverDegraded, nil
	}
	d, err := time.ParseDuration(c.Degraded)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("degraded: %q is no time, want never or one such as 3s", c.Degraded)
	}
	return d, nil
}

// volume compiles one volume, and adds to the plan the key files that it
// names.
func (c *Config) volume(i int, v VolumeConfig, p *plan.Plan) plan.Volume {
	name := v.Name
	if name == "" && i == 0 {
		name = "root"
	}
	var sources []string
	for j, s := range v.Sources {
		name := s.name(p)
		if at := fmt.Sprintf("volumes[%d].sources[%d]", i, j); s.together() {
			c.aliasParts(name, at, s, p)
		} else {
			c.alias(name, at+"."+s.word())
		}
		sources = append(sources, name)
	}
	if len(sources) == 0 {
		sources = []string{plan.SourceKMS}
	}
	uuid := v.UUID
	if uuid == "" && v.Label != "" {
		uuid = mapping.KairosUUID(v.Label)
	}
	out := plan.Volume{UUID: uuid, Name: name, Serial: v.Serial, Label: v.Label, Sources: sources, Digest: v.Digest, Options: v.Options, NoFail: v.NoFail, LUKS1: v.LUKS1, LockedTo: v.State, Accept: v.Accept, Data: v.Data}
	for _, s := range v.Sources {
		if s.TalosNode != nil {
			out.Talos = s.TalosNode.Volume
		}
	}
	if v.Header != nil {
		out.Header = &plan.HeaderFile{Device: v.Header.Device, Path: v.Header.Path}
	}
	if out.Accept == plan.AcceptStrict {
		out.Accept = ""
	}
	return out
}
