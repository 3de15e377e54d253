package config

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/datafile"
	"latchkey/internal/label"
	"latchkey/internal/secret"
	"latchkey/internal/spelling"
	"latchkey/kms/server/hook"
)

// A Hooks says who is told what happens.
type Hooks []Hook

// A Hook is a web service, a service in its own words, or a program.
type Hook struct {
	URL        string        `yaml:"url"`
	Preset     string        `yaml:"preset"`      // a service that is told in its own words
	SecretFile string        `yaml:"secret-file"` // what signs the requests; of a preset its token, password or URL
	Room       string        `yaml:"room"`        // of Matrix
	From       string        `yaml:"from"`        // of e-mail
	To         []string      `yaml:"to"`
	User       string        `yaml:"user"`    // of the mail server
	CA         string        `yaml:"ca"`      // who signs the mail server's certificate; empty: the system's
	Program    []string      `yaml:"program"` // whole path and arguments
	Timeout    time.Duration `yaml:"timeout"` // of the program
	On         []string      `yaml:"on"`      // events or statuses; pending if empty
	Approve    HookApproval  `yaml:"approve" words:"sign-in words"`
	Person     string        `yaml:"person"`                                                                                    // who reads it, as the page calls who signs in
	Labels     []string      `yaml:"labels" least:"1" empty:"it would be for all machines; leave the key out if that is meant"` // of the machines that it is told of; none: all
}

// A HookApproval is what approving by the link of a notice needs.
type HookApproval string

const (
	// BySignIn leads to the machine's page; it is what holds if nothing is said.
	BySignIn HookApproval = "sign-in"
	// ByWords asks for the six words that the machine's console shows.
	ByWords HookApproval = "words"
)

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
	if err := h.checkKind(); err != nil {
		return err
	}
	if len(h.On) == 0 {
		h.On = []string{"pending"}
	}
	for i, name := range h.On {
		if known := hook.Names(); !slices.Contains(known, name) {
			return faultf(fmt.Sprintf("on[%d]", i), "%.64q is no event, status or rule%s", name, spelling.Suggest(name, known))
		}
	}
	if err := label.Check(h.Labels); err != nil {
		return faultf("labels", "%w", err)
	}
	switch {
	case h.Approve != "" && h.Approve != BySignIn && h.Approve != ByWords:
		return faultf("approve", "%q must be sign-in or words", h.Approve)
	case h.Person != "" && h.Approve != ByWords:
		return faultf("person", "it says whose word a link is, and there are links of that kind with approve: words only")
	case len(h.Person) > 64:
		return faultf("person", "a name of %d bytes: 64 at most", len(h.Person))
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

// secretURL: the URL of these is the secret, and stands in its file.
func (h *Hook) secretURL() bool { return h.Preset == hook.Slack || h.Preset == hook.Teams }

// checkKind tells what a hook of its kind cannot have.
func (h *Hook) checkKind() error {
	if known := hook.Presets(); h.Preset != "" && !slices.Contains(known, h.Preset) {
		return faultf("preset", "%.64q is no service that is known: %s%s", h.Preset, strings.Join(known, ", "), spelling.Suggest(h.Preset, known))
	}
	switch {
	case h.secretURL() && (h.URL != "" || len(h.Program) > 0):
		return faultf("", "the URL of %s is a secret: write it into the file that secret-file names", h.Preset)
	case h.secretURL():
	case h.Preset != "" && len(h.Program) > 0, (h.URL == "") == (len(h.Program) == 0):
		return faultf("", "a hook has either url or program")
	}
	for _, only := range []struct {
		key, preset string
		set         bool
	}{
		{"room", hook.Matrix, h.Room != ""},
		{"from", hook.Email, h.From != ""},
		{"to", hook.Email, len(h.To) > 0},
		{"user", hook.Email, h.User != ""},
		{"ca", hook.Email, h.CA != ""},
	} {
		if only.set && h.Preset != only.preset {
			return faultf(only.key, "only a hook with preset: %s has one", only.preset)
		}
	}
	return nil
}

// target reads what the hook needs.
func (h *Hook) target() (hook.Target, error) {
	if len(h.Program) > 0 {
		p, err := hook.NewProgram(h.Program, h.Timeout)
		if err != nil {
			return nil, faultf("program", "%w", err)
		}
		return p, nil
	}

	var key secret.Bytes
	if optional := h.Preset == hook.Ntfy || h.Preset == hook.Email && h.User == ""; h.SecretFile != "" || !optional {
		var err error
		if key, err = readSecret(h.SecretFile); err != nil {
			return nil, faultf("secret-file", "%w", err)
		}
	}
	switch h.Preset {
	case "":
		return h.signed(key)
	case hook.Email:
		return h.mail(key)
	}
	c := hook.Chat{URL: h.URL, Room: h.Room, Secret: key}
	at := "url"
	if h.secretURL() {
		c.URL, at = string(key.Reveal()), "secret-file"
	}
	w, err := hook.NewChat(h.Preset, c)
	if err != nil {
		return nil, faultf(at, "%w", err)
	}
	return w, nil
}

// signed is a web service of Standard Webhooks.
func (h *Hook) signed(keys secret.Bytes) (hook.Target, error) {
	signer, err := hook.ReadSigner(keys.Reveal())
	if err != nil {
		return nil, faultf("secret-file", "%s: %w", h.SecretFile, err)
	}
	w, err := hook.NewWeb(h.URL, signer)
	if err != nil {
		return nil, faultf("url", "%w", err)
	}
	return w, nil
}

func (h *Hook) mail(password secret.Bytes) (hook.Target, error) {
	m := hook.Mail{URL: h.URL, From: h.From, To: h.To, User: h.User, Password: password}
	if h.CA != "" {
		pem, err := datafile.Read(h.CA, maxFile)
		if err != nil {
			return nil, faultf("ca", "%w", err)
		}
		m.Roots = x509.NewCertPool()
		if !m.Roots.AppendCertsFromPEM(pem) {
			return nil, faultf("ca", "%s has no certificate in PEM", h.CA)
		}
	}
	t, err := hook.NewMail(m)
	if err != nil {
		return nil, faultf("", "%w", err)
	}
	return t, nil
}

// readSecret reads a secret without the space around it.
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
		all = append(all, hook.Hook{Target: t, On: one.On, Labels: one.Labels, Blind: one.Approve == ByWords, Person: one.Person})
	}
	return all, nil
}

// checkLinks: links lead to the page.
func (h Hooks) checkLinks(a *Admin) error {
	for i, one := range h {
		if one.Approve == ByWords && (a.Address == "" || a.Page.Address() == "") {
			return faultf("hooks["+strconv.Itoa(i)+"].approve", "links need the page: set admin.address and admin.page.url")
		}
	}
	return nil
}
