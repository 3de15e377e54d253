package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/cli"
	"latchkey/internal/program"
)

// A Wrapping says where the key is that wraps the database's key. If it
// says nothing, that is the systemd credential, else a file beside the
// database.
type Wrapping struct {
	Key        string          `yaml:"key" restart:"yes"`        // file of 32 bytes
	Passphrase string          `yaml:"passphrase" restart:"yes"` // file to derive it from
	TPM        string          `yaml:"tpm" restart:"yes"`        // device that unseals it
	Exec       WrappingExec    `yaml:"exec" restart:"yes"`       // programs that decrypt and encrypt it
	Transit    WrappingTransit `yaml:"transit" restart:"yes"`    // an OpenBao or Vault that does
	Shares     string          `yaml:"shares" restart:"yes"`     // 3/5: three of five people have it together
}

// A WrappingExec is a pair of programs with their arguments: docs/wrapping.md
// has what they read and write.
type WrappingExec struct {
	Unwrap      []string      `yaml:"unwrap"`
	Wrap        []string      `yaml:"wrap"`
	Environment []string      `yaml:"environment"` // NAME=value
	Timeout     time.Duration `yaml:"timeout"`
}

// Set tells whether the section says anything.
func (e *WrappingExec) Set() bool {
	return len(e.Unwrap) > 0 || len(e.Wrap) > 0 || len(e.Environment) > 0 || e.Timeout != 0
}

// Limit is how long a program may run.
func (e *WrappingExec) Limit() time.Duration {
	if e.Timeout == 0 {
		return 30 * time.Second
	}
	return e.Timeout
}

func (e *WrappingExec) check() error {
	if !e.Set() {
		return nil
	}
	if err := program.Named(e.Unwrap); err != nil {
		return faultf("unwrap", "%w", err)
	}
	if len(e.Wrap) > 0 {
		if err := program.Named(e.Wrap); err != nil {
			return faultf("wrap", "%w", err)
		}
	}
	for i, v := range e.Environment {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" || strings.ContainsRune(v, 0) {
			return faultf(fmt.Sprintf("environment[%d]", i), "%.64q must be NAME=value", v)
		}
	}
	if err := program.CheckTimeout(e.Limit()); err != nil {
		return faultf("timeout", "%w", err)
	}
	return nil
}

// ReadWrapping reads only this section of a configuration file.
func ReadWrapping(path string) (Wrapping, error) {
	c, err := Read(path)
	if err != nil {
		return Wrapping{}, err
	}
	if err = c.Wrapping.check(); err == nil && c.Wrapping.None() {
		err = faultf("", "%s says nothing of it", path)
	}
	if err != nil {
		return Wrapping{}, &cli.Exit{Code: cli.Usage, Err: c.locate(under("wrapping", err))}
	}
	return c.Wrapping, nil
}

// None tells whether nothing is said.
func (s *Wrapping) None() bool { return reflect.ValueOf(*s).IsZero() }

// Exclusive tells whether at most one way is named.
func (s *Wrapping) Exclusive() bool {
	n := 0
	for _, set := range []bool{s.Key != "", s.Passphrase != "", s.TPM != "", s.Exec.Set(), s.Transit.Set(), s.Shares != ""} {
		if set {
			n++
		}
	}
	return n <= 1
}

// maxShares is how many people may have a share.
const maxShares = 64

// ShareNumbers are how many shares give the key, of how many.
func (s *Wrapping) ShareNumbers() (needed, of int, err error) {
	k, n, _ := strings.Cut(s.Shares, "/")
	needed, err = strconv.Atoi(k)
	if err == nil {
		of, err = strconv.Atoi(n)
	}
	if err != nil || needed < 2 || of < needed || of > maxShares {
		return 0, 0, fmt.Errorf("%.32q must be such as 3/5: how many of how many people, 2 to %d", s.Shares, maxShares)
	}
	return needed, of, nil
}

// check implements section.
func (s *Wrapping) check() error {
	if !s.Exclusive() {
		return faultf("", "key, passphrase, tpm, exec, transit and shares are mutually exclusive")
	}
	if err := s.Exec.check(); err != nil {
		return under("exec", err)
	}
	if err := s.Transit.check(); err != nil {
		return under("transit", err)
	}
	if _, _, err := s.ShareNumbers(); s.Shares != "" && err != nil {
		return faultf("shares", "%w", err)
	}
	return nil
}
