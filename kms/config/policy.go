package config

import (
	"errors"

	"latchkey/internal/datafile"
	"latchkey/kms/server/policy"
)

// A Policy says who may have what, when, from where. docs/policy.md
// describes every key.
type Policy struct {
	Defaults policy.Settings        `yaml:"defaults"`
	Groups   []policy.GroupConfig   `yaml:"groups"`
	Releases []policy.ReleaseConfig `yaml:"releases"`
	Programs []policy.ProgramConfig `yaml:"programs"`

	Rules *policy.Policy `yaml:"-"` // made of the rest by check
}

// maxFile bounds kms.yaml and each file that it names, in bytes.
const maxFile = 16 << 20

func (p *Policy) check() error {
	return p.checkBy(func(path string) ([]byte, error) { return datafile.Read(path, maxFile) })
}

func (p *Policy) checkBy(read func(path string) ([]byte, error)) (err error) {
	p.Rules, err = policy.Config{Defaults: p.Defaults, Groups: p.Groups, Releases: p.Releases, Programs: p.Programs}.Policy(read)
	if f, ok := errors.AsType[*policy.ConfigError](err); ok {
		return &fault{f.Key, f.Err}
	}
	return err
}
