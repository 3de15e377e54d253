package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Config is the section "policy" of the server's configuration file.
type Config struct {
	Defaults Settings                 `yaml:"defaults"`
	Groups   []GroupConfig            `yaml:"groups"`
	Releases map[string]ReleaseConfig `yaml:"releases"`
}

// A GroupConfig is settings for the nodes with a label, written key=value.
type GroupConfig struct {
	Label    string `yaml:"label"`
	Settings `yaml:",inline"`
}

// A ReleaseConfig is one image release: golden values, signatures, or both.
type ReleaseConfig struct {
	PCRs   map[int]Digest `yaml:"pcrs"`
	Signed *SignedConfig  `yaml:"signed"`
}

// A SignedConfig names the files of a signed PCR 11.
type SignedConfig struct {
	PublicKey  string `yaml:"public-key"` // PEM
	Signatures string `yaml:"signatures"` // systemd's JSON
}

// Policy checks the configuration and reads the files that it names.
func (c Config) Policy(read func(path string) ([]byte, error)) (*Policy, error) {
	p := &Policy{Defaults: c.Defaults, Releases: map[string]Release{}}
	for _, name := range slices.Sorted(maps.Keys(c.Releases)) {
		r, err := c.Releases[name].release(read)
		if err == nil && (name == NoRelease || name == "") {
			err = fmt.Errorf("%q is no name for a release", name)
		}
		if err != nil {
			return nil, fmt.Errorf("policy.releases.%s: %w", name, err)
		}
		p.Releases[name] = r
	}
	if err := p.check(c.Defaults); err != nil {
		return nil, fmt.Errorf("policy.defaults: %w", err)
	}
	for i, g := range c.Groups {
		key, value, err := ParseLabel(g.Label)
		if err == nil {
			err = p.check(g.Settings)
		}
		if err != nil {
			return nil, fmt.Errorf("policy.groups[%d]: %w", i, err)
		}
		p.Groups = append(p.Groups, Group{key, value, g.Settings})
	}
	return p, nil
}

func (p *Policy) check(s Settings) error {
	if err := s.Check(); err != nil {
		return err
	}
	return p.Known(s)
}

func (c ReleaseConfig) release(read func(string) ([]byte, error)) (Release, error) {
	r := Release{PCRs: c.PCRs}
	for pcr := range c.PCRs {
		if !slices.Contains(QuotedPCRs, pcr) {
			return r, fmt.Errorf("PCR %d: a machine shows PCRs 7, 11 and 12", pcr)
		}
	}
	if c.Signed == nil {
		if len(c.PCRs) == 0 {
			return r, fmt.Errorf("it names neither pcrs nor signed, and any boot would match")
		}
		return r, nil
	}
	if _, golden := c.PCRs[11]; golden {
		return r, fmt.Errorf("PCR 11 is either golden or signed")
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

// ParseLabel reads key=value: letters, digits, '.', '_', '-' and '/'.
func ParseLabel(s string) (key, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok || key == "" || len(s) > 128 || strings.ContainsFunc(key+value, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/", r))
	}) {
		return "", "", fmt.Errorf("label %.128q: want key=value of letters, digits, '.', '_', '-' and '/'", s)
	}
	return key, value, nil
}
