package main

import (
	"errors"
	"os"

	"latchkey/kms/server"
	"latchkey/kms/server/policy"
)

// A policySection says who may have what, when, from where. docs/policy.md
// describes every key.
type policySection struct {
	Defaults policy.Settings        `yaml:"defaults"`
	Groups   []policy.GroupConfig   `yaml:"groups"`
	Releases []policy.ReleaseConfig `yaml:"releases"`

	rules *policy.Policy
}

func (p *policySection) check() (err error) {
	p.rules, err = policy.Config{Defaults: p.Defaults, Groups: p.Groups, Releases: p.Releases}.Policy(os.ReadFile)
	if f, ok := errors.AsType[*policy.ConfigError](err); ok {
		return &fault{f.Key, f.Err}
	}
	return err
}

func (p *policySection) apply(s *server.Server) { s.SetPolicy(p.rules) }
