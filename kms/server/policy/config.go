package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"latchkey/internal/label"
	"latchkey/kms/server/eventlog"
)

// A Config is the section "policy" of the server's configuration file.
type Config struct {
	Defaults Settings        `yaml:"defaults"`
	Groups   []GroupConfig   `yaml:"groups"`
	Releases []ReleaseConfig `yaml:"releases"`
	Programs []ProgramConfig `yaml:"programs"`
}

// A GroupConfig is settings for the nodes with a label, written key=value.
type GroupConfig struct {
	Label    string   `yaml:"label"`
	Settings Settings `yaml:"settings"`
}

// A ReleaseConfig is one image release: golden values, signatures, content,
// or several of these.
type ReleaseConfig struct {
	Name    string         `yaml:"name"`
	PCRs    []PCRValue     `yaml:"pcrs"`
	Signed  *SignedConfig  `yaml:"signed"`
	Content *ContentConfig `yaml:"content"`
}

// A SignedConfig names the files of a signed PCR 11.
type SignedConfig struct {
	PublicKey  string `yaml:"public-key"` // PEM
	Signatures string `yaml:"signatures"` // systemd's JSON
}

// A PCRValue is one value, written as systemd does: 11:sha256=HEX.
type PCRValue struct {
	PCR   int
	Value Digest
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *PCRValue) UnmarshalText(b []byte) error {
	index, value, ok := strings.Cut(string(b), ":sha256=")
	pcr, err := strconv.Atoi(index)
	if !ok || err != nil {
		return fmt.Errorf("reading %.80q: not a PCR value, as in 11:sha256=64 HEX DIGITS", b)
	}
	if !slices.Contains(eventlog.Selection, pcr) {
		return fmt.Errorf("reading %.80q: machines can be asked for PCRs 0 to 5, 7 to 9 and 11 to 14", b)
	}
	v.PCR = pcr
	return v.Value.UnmarshalText([]byte(value))
}

// A ConfigError is what is wrong with one key of the section.
type ConfigError struct {
	Key string // a path: groups[0].settings
	Err error
}

func (e *ConfigError) Error() string { return e.Key + ": " + e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

// Policy checks the configuration and reads the files that it names. Its
// errors are of type *ConfigError.
func (c Config) Policy(read func(path string) ([]byte, error)) (*Policy, error) {
	p := &Policy{Defaults: c.Defaults, Releases: map[string]Release{}}
	var err error
	if p.Programs, err = programNames(c.Programs); err != nil {
		return nil, &ConfigError{"programs", err}
	}
	for i, one := range c.Releases {
		r, err := one.release(read, p.Programs)
		if _, twice := p.Releases[one.Name]; err == nil && twice {
			err = fmt.Errorf("there is another release %q", one.Name)
		}
		if err != nil {
			return nil, &ConfigError{fmt.Sprintf("releases[%d]", i), err}
		}
		p.Releases[one.Name] = r
	}

	if err := p.Check(c.Defaults); err != nil {
		return nil, &ConfigError{"defaults", err}
	}
	for i, g := range c.Groups {
		key, value, err := ParseLabel(g.Label)
		if err != nil {
			return nil, &ConfigError{fmt.Sprintf("groups[%d].label", i), err}
		}
		if err := cmp.Or(p.Check(g.Settings), checkGroup(key, value, g.Settings), c.Defaults.checkPeople(g.Settings)); err != nil {
			return nil, &ConfigError{fmt.Sprintf("groups[%d].settings", i), err}
		}
		p.Groups = append(p.Groups, Group{key, value, g.Settings})
	}

	return p, nil
}

// Check says what is wrong with settings under this policy.
func (p *Policy) Check(s Settings) error {
	if err := s.check(); err != nil {
		return err
	}
	if err := s.checkPresence(); err != nil {
		return err
	}
	return p.known(s)
}

func (c ReleaseConfig) release(read func(string) ([]byte, error), programs map[Digest]string) (Release, error) {
	r := Release{PCRs: map[int]Digest{}}
	if c.Name == "" || c.Name == NoRelease || strings.ContainsAny(c.Name, " ,\t\n") {
		return r, fmt.Errorf("%q is no name for a release", c.Name)
	}

	for _, v := range c.PCRs {
		if _, twice := r.PCRs[v.PCR]; twice {
			return r, fmt.Errorf("PCR %d has two values", v.PCR)
		}
		if v.PCR == 11 && !Measured(v.Value) {
			return r, errors.New("PCR 11: nothing measures an initrd in that value: any initrd would be this release")
		}
		r.PCRs[v.PCR] = v.Value
	}

	if c.Content != nil {
		content, err := c.Content.content(read, programs)
		if err != nil {
			return r, fmt.Errorf("content: %w", err)
		}
		r.Content = content
	}
	if c.Signed == nil {
		if len(c.PCRs) == 0 && c.Content == nil {
			return r, errors.New("it says none of pcrs, signed and content, so that any boot would match")
		}
		return r, nil
	}

	if _, golden := r.PCRs[11]; golden {
		return r, errors.New("PCR 11 is either golden or signed")
	}
	key, err := read(c.Signed.PublicKey)
	if err != nil {
		return r, fmt.Errorf("signed.public-key: %w", err)
	}

	signatures, err := read(c.Signed.Signatures)
	if err != nil {
		return r, fmt.Errorf("signed.signatures: %w", err)
	}

	r.Signed, err = ReadSigned(signatures, key)
	return r, err
}

// ParseLabel reads key=value.
func ParseLabel(s string) (key, value string, err error) { return label.Parse(s) }
