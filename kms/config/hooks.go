package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"latchkey/internal/datafile"
	"latchkey/internal/secret"
	"latchkey/internal/spelling"
	"latchkey/kms/server/hook"
)

// A Hooks says who is told what happens.
type Hooks []Hook

// A Hook is a web service or a program.
type Hook struct {
	URL        string        `yaml:"url"`
	SecretFile string        `yaml:"secret-file"` // what signs the requests
	Program    []string      `yaml:"program"`     // whole path and arguments
	Timeout    time.Duration `yaml:"timeout"`     // of the program
	On         []string      `yaml:"on"`          // events or statuses; pending if empty
}

// defaultHookTimeout is for a program that tells people.
const defaultHookTimeout = 30 * time.Second

func (h *Hooks) check() error {
	for i := range *h {
		if err := (*h)[i].check(); err != nil {
			return under("["+strconv.Itoa(i)+"]", err)
		}
	}
	return nil
}

func (h *Hook) check() error {
	if (h.URL == "") == (len(h.Program) == 0) {
		return faultf("", "a hook has either url or program")
	}
	if len(h.On) == 0 {
		h.On = []string{"pending"}
	}
	for i, name := range h.On {
		if known := hook.Names(); !slices.Contains(known, name) {
			return faultf(fmt.Sprintf("on[%d]", i), "%.64q is no event, status or rule%s", name, spelling.Suggest(name, known))
		}
	}
	if h.Timeout < 0 {
		return faultf("timeout", "%s is not a time to wait", h.Timeout)
	}
	if h.Timeout == 0 {
		h.Timeout = defaultHookTimeout
	}
	_, err := h.target()
	return err
}

// target reads what the hook needs.
func (h *Hook) target() (hook.Target, error) {
	if h.URL == "" {
		p, err := hook.NewProgram(h.Program, h.Timeout)
		if err != nil {
			return nil, faultf("program", "%w", err)
		}
		return p, nil
	}

	key, err := readSecret(h.SecretFile)
	if err != nil {
		return nil, faultf("secret-file", "%w", err)
	}

	w, err := hook.NewWeb(h.URL, key)
	if err != nil {
		return nil, faultf("url", "%w", err)
	}
	return w, nil
}

// readSecret reads a secret of one line.
func readSecret(path string) (secret.Bytes, error) {
	if path == "" {
		return secret.Bytes{}, errors.New("name the file that holds the secret")
	}
	b, err := datafile.Read(path, maxFile)
	if err != nil {
		return secret.Bytes{}, err
	}
	return secret.Own(bytes.TrimSpace(b)), nil
}

// Targets are the section's hooks, ready to be told.
func (h Hooks) Targets() (all []hook.Hook, err error) {
	for _, one := range h {
		t, err := one.target()
		if err != nil {
			return nil, err
		}
		all = append(all, hook.Hook{Target: t, On: one.On})
	}
	return all, nil
}
