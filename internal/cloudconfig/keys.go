package cloudconfig

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"latchkey/internal/spelling"
)

// A setting is a key, and how its value is taken.
type setting struct {
	name string
	take func(c *Config, value string) error
}

// device is what kcrypt, and once kcrypt.challenger, says of the TPM.
var device = []setting{
	{"nv_index", func(c *Config, v string) error { return handle(v, &c.NVIndex) }},
	{"c_index", func(c *Config, v string) error { return handle(v, &c.CIndex) }},
	{"tpm_device", func(c *Config, v string) error { return words(v, &c.TPMDevice) }},
}

// challenger is what kcrypt.challenger says.
var challenger = append([]setting{
	{"challenger_server", func(c *Config, v string) error { return words(v, &c.Server) }},
	{"mdns", func(c *Config, v string) error { return truth(v, &c.MDNS) }},
	{"certificate", func(c *Config, v string) error { return words(v, &c.Certificate) }},
	{"legacy", func(c *Config, v string) error {
		c.Legacy = new(bool)
		return truth(v, c.Legacy)
	}},
}, device...)

func find(all []setting, name string) (setting, bool) {
	i := slices.IndexFunc(all, func(s setting) bool { return s.name == name })
	if i < 0 {
		return setting{}, false
	}
	return all[i], true
}

func names(all []setting) (out []string) {
	for _, s := range all {
		out = append(out, s.name)
	}
	return out
}

// mostWrong is how many letters of a key may be wrong for it to be meant for
// us; other programs have keys of their own in kcrypt.
const mostWrong = 3

// unknown is the error of a key in kcrypt that is none. It is nil for one that
// is somebody else's.
func unknown(name string) error {
	if _, ok := find(challenger, name); ok {
		return fmt.Errorf("kcrypt.%s: it belongs in kcrypt.challenger", name)
	}
	name, _, _ = strings.Cut(name, ".") // of the command line
	if name == "challenger" {
		return errors.New("kcrypt.challenger: want a key below it, such as kcrypt.challenger.challenger_server")
	}
	ours := append(names(challenger), "challenger")
	if slices.ContainsFunc(ours, func(s string) bool { return spelling.Distance(strings.ToLower(name), s) <= mostWrong }) {
		return fmt.Errorf("unknown key %.64q in kcrypt%s", name, spelling.Suggest(name, ours))
	}
	return nil
}

// unknownOfChallenger is the error of a key in kcrypt.challenger that is none.
func unknownOfChallenger(name string) error {
	return fmt.Errorf("unknown key %.64q in kcrypt.challenger%s", name, spelling.Suggest(name, names(challenger)))
}

// words reads any text but none.
func words(v string, to *string) error {
	if strings.TrimSpace(v) == "" {
		return errors.New("is empty: give it a value, or leave it out")
	}
	*to = v
	return nil
}

// truth reads true or false, quoted or not.
func truth(v string, to *bool) error {
	on, err := strconv.ParseBool(v)
	if err != nil {
		return fmt.Errorf("is %.40q, want true or false", v)
	}
	*to = on
	return nil
}

// handle reads a number such as 0x1500000, quoted or not; "" is none.
func handle(v string, to *uint32) error {
	if v == "" {
		return nil
	}
	n, err := strconv.ParseUint(v, 0, 32)
	if err != nil || n == 0 {
		return fmt.Errorf("is %.40q, want a number such as 0x1500000", v)
	}
	*to = uint32(n)
	return nil
}

// AddCommandLine takes what the kernel's command line says, or nothing of it.
func (c *Config) AddCommandLine(text string) error {
	next := *c
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		key, ours := strings.CutPrefix(name, "kcrypt.")
		if !ours {
			continue
		}

		all, wrong := device, unknown
		if under, ok := strings.CutPrefix(key, "challenger."); ok {
			key, all, wrong = under, challenger, unknownOfChallenger
		}
		err := wrong(key)
		if s, ok := find(all, key); ok {
			if err = s.take(&next, value); err != nil {
				err = fmt.Errorf("%s %w", name, err)
			}
		}
		if err != nil {
			return fmt.Errorf("kernel command line: %w", err)
		}
	}
	*c = next
	return nil
}
