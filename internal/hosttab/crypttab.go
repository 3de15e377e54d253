package hosttab

import (
	"fmt"
	"slices"
	"strings"
)

// A Verdict is what the running system's /etc/crypttab says of a plan. Wrong
// are options that protect something and that the plan does not follow; Notes
// are the others, and what the boot leaves to the real root.
type Verdict struct{ Wrong, Notes []string }

func (v *Verdict) note(format string, args ...any) {
	v.Notes = append(v.Notes, "/etc/crypttab: "+fmt.Sprintf(format, args...))
}

func (v *Verdict) wrong(format string, args ...any) {
	v.Wrong = append(v.Wrong, "/etc/crypttab: "+fmt.Sprintf(format, args...))
}

// Judge compares crypttab(5) with a plan's volumes. Lines of other volumes
// count only where one of the plan's is this machine's.
func (h Host) Judge(volumes []Volume) (v Verdict, err error) {
	lines, err := h.fields("/etc/crypttab", 2)
	if err != nil {
		return v, err
	}
	var others [][]string
	here := false
	for _, f := range lines {
		i := slices.IndexFunc(volumes, func(p Volume) bool { return h.sourceIs(f[1], p.UUID) })
		if i < 0 {
			others = append(others, f)
			continue
		}
		here = true
		v.planned(f, volumes[i])
	}
	for _, f := range others {
		if here {
			v.other(f)
		}
	}
	return v, nil
}

// options are the fourth field of a line.
func options(f []string) []string {
	if len(f) < 4 || f[3] == "-" || f[3] == "none" {
		return nil
	}
	return slices.DeleteFunc(strings.Split(f[3], ","), func(o string) bool { return o == "" })
}

func has(f []string, words ...string) bool {
	return slices.ContainsFunc(options(f), func(o string) bool { return slices.Contains(words, o) })
}

// other is a line of a volume that the plan does not name.
func (v *Verdict) other(f []string) {
	switch random := len(f) > 2 && (f[2] == "/dev/urandom" || f[2] == "/dev/random"); {
	case random || has(f, "swap", "tmp"):
		v.note("%q gets a new key at each boot: left to the real root", f[0])
	case has(f, "x-initrd.attach", "initramfs"):
		v.note("%q is opened in the initramfs (x-initrd.attach), and the plan does not name it: add it to volumes in latchkey.yaml if the boot needs it", f[0])
	default:
		v.note("%q is left to the real root", f[0])
	}
}

// planned is the line of a volume of the plan.
func (v *Verdict) planned(f []string, p Volume) {
	if len(f) > 4 {
		v.note("%q has %d fields, the fourth counts: options have no spaces", f[0], len(f))
	}
	if len(f) > 2 && f[2] != "none" && f[2] != "-" && !slices.ContainsFunc(p.Sources, func(s string) bool { return strings.HasPrefix(s, "key-file") }) {
		v.note("%q has the key file %q, which the boot does not read: sources: [key-file: {path: FILE}] in latchkey.yaml", f[0], f[2])
	}
	for _, o := range options(f) {
		v.option(f[0], o, p)
	}
}

// option judges one option of a volume of the plan.
func (v *Verdict) option(name, o string, p Volume) {
	word, value, _ := strings.Cut(o, "=")
	switch what := optionKinds[word]; {
	case what == done:
	case what == same:
		if o = canonicalOption(o); !slices.Contains(p.Options, o) && o == "read-only" {
			v.wrong("%q is read-only, and the boot would write to it: options: [read-only] in latchkey.yaml", name)
		} else if !slices.Contains(p.Options, o) {
			v.note("%q has the option %q: options: [%s] in latchkey.yaml has the boot use it", name, o, o)
		}
	case word == "header":
		if !p.Header {
			v.wrong("%q has its header in %q: header: {path: FILE} and data: PARTUUID=… in latchkey.yaml", name, value)
		}
	case word == "nofail":
		if !p.NoFail {
			v.note("%q has nofail, and the boot waits for it all the same: nofail: true in latchkey.yaml", name)
		}
	case what == notLUKS:
		v.wrong("%q has the option %q: the boot opens LUKS only", name, o)
	case strings.HasPrefix(word, "tpm2-"):
		if !slices.Contains(p.Sources, "systemd-tpm2") {
			v.note("%q is opened by its TPM token (%q), which the boot does not use: sources: [systemd-tpm2: {…}] in latchkey.yaml", name, o)
		}
	case what == unused || strings.HasPrefix(word, "fido2-") || strings.HasPrefix(word, "pkcs11-"):
		v.note("the option %q of %q has no effect at boot", o, name)
	default:
		v.note("the option %q of %q is not known", o, name)
	}
}

func canonicalOption(o string) string {
	switch o {
	case "readonly":
		return "read-only"
	case "allow-discards":
		return "discard"
	}
	return o
}

// A kind is what becomes of an option of crypttab(5).
type kind int

const (
	done    kind = iota + 1 // it is what the boot does anyway
	same                    // the plan has the same word
	unused                  // known, and without effect here
	notLUKS                 // of volumes that are not opened here
)

var optionKinds = map[string]kind{
	"luks": done, "defaults": done, "x-initrd.attach": done, "initramfs": done, "_netdev": done, "headless": done, "loud": done, "noauto": done,
	"tpm2-measure-pcr": done, "x-systemd.device-timeout": done,
	"discard": same, "allow-discards": same, "read-only": same, "readonly": same, "no-read-workqueue": same, "no-write-workqueue": same,
	"same-cpu-crypt": same, "submit-from-crypt-cpus": same,
	"key-slot": unused, "keyslot": unused, "keyfile-size": unused, "keyfile-offset": unused, "keyfile-timeout": unused, "keyfile-erase": unused, "tries": unused,
	"timeout": unused, "token-timeout": unused, "try-empty-password": unused, "password-echo": unused, "password-cache": unused, "verify": unused,
	"cipher": unused, "hash": unused, "size": unused, "offset": unused, "skip": unused, "sector-size": unused, "quiet": unused, "check": unused, "checkargs": unused,
	"keyscript": unused, "noearly": unused, "link-volume-key": unused, "fixate-volume-key": unused, "x-systemd.requires": unused, "x-systemd.after": unused,
	"plain": notLUKS, "swap": notLUKS, "tmp": notLUKS, "tcrypt": notLUKS, "tcrypt-hidden": notLUKS, "tcrypt-keyfile": notLUKS, "tcrypt-system": notLUKS,
	"tcrypt-veracrypt": notLUKS, "veracrypt": notLUKS, "veracrypt-pim": notLUKS, "bitlk": notLUKS,
}

// Measured are the names in /etc/crypttab that systemd-cryptsetup measures into
// a PCR when it opens them: tpm2-measure-pcr=.
func (h Host) Measured() (names []string, err error) {
	lines, err := h.fields("/etc/crypttab", 4)
	for _, f := range lines {
		if slices.ContainsFunc(options(f), MeasuresPCR) {
			names = append(names, f[0])
		}
	}
	return names, err
}

// MeasuresPCR tells whether an option of crypttab(5) is tpm2-measure-pcr= and
// not off (parse_boolean in systemd's src/basic/parse-util.c).
func MeasuresPCR(option string) bool {
	value, ok := strings.CutPrefix(option, "tpm2-measure-pcr=")
	return ok && !slices.Contains([]string{"0", "no", "n", "false", "f", "off"}, strings.ToLower(value))
}
