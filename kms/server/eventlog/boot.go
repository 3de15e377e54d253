package eventlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/google/go-eventlog/tcg"
)

// sections are those that a boot stub measures: first the name with its NUL,
// then the data (systemd-stub(7), "TPM PCR notes"). The name's digest tells
// which it is, whatever the event calls it.
var sections = []string{
	".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".dtbauto", ".hwids", ".uname", ".sbat", ".pcrpkey", ".profile", ".efifw",
}

// stub reads PCR 11.
func (r *reader) stub(e tcg.Event) bool {
	if r.section != "" {
		m := Measured{Name: r.section, SHA256: Digest(e.Digest)}
		r.section = ""
		return r.s.add(&r.s.Sections, m)
	}
	i := slices.IndexFunc(sections, func(name string) bool { return sha256.Sum256([]byte(name+"\x00")) == [32]byte(e.Digest) })
	if i < 0 {
		return false
	}
	r.section = sections[i]
	return true
}

// section is one that was measured.
func (s *Summary) section(name string) (Digest, bool) {
	i := slices.IndexFunc(s.Sections, func(m Measured) bool { return m.Name == name })
	if i < 0 {
		return Digest{}, false
	}
	return s.Sections[i].SHA256, true
}

// config reads PCRs 12 and 13: what the stub was given beside its image. The
// text of a command line is itself what was measured.
func (r *reader) config(e tcg.Event) bool {
	m := Measured{Name: clean(text(e.Data), maxText), SHA256: Digest(e.Digest), Text: e.DigestVerified()}
	if tag, err := tcg.ParseTaggedEventData(e.Data); e.Type == tcg.EventTag && err == nil {
		m.Name, m.Text = clean(text(tag.Data), maxText), sha256.Sum256(tag.Data) == [32]byte(e.Digest)
	}
	return r.s.add(&r.s.Config, m)
}

// GRUB's prefixes of what it measures into PCR 8 (grub-core/commands/tpm.c).
const (
	grubCommand = "grub_cmd: "
	grubLinux   = "kernel_cmdline: "
)

// loads are GRUB's commands for kernels of Linux and their initrds; those
// with other names do the same (grub-core/loader).
var loads = map[string]bool{
	"linux": true, "linuxefi": true, "linux16": true, "linux_xen": true,
	"initrd": true, "initrdefi": true, "initrd16": true, "initrd_xen": true,
}

// grub reads PCRs 8 and 9: commands and files of GRUB, and the initrd that
// the kernel's EFI stub loaded.
func (r *reader) grub(e tcg.Event) bool {
	if e.Type == tcg.EventTag {
		tag, err := tcg.ParseTaggedEventData(e.Data)
		name := ""
		if err == nil {
			name = clean(text(tag.Data), 64)
		}
		return r.s.add(&r.s.Files, Measured{Name: name, SHA256: Digest(e.Digest)})
	}
	if e.Type != tcg.Ipl {
		return false
	}
	said := text(e.Data)
	if e.Index == 9 {
		return r.s.add(&r.s.Files, Measured{Name: clean(said, 200), SHA256: Digest(e.Digest)})
	}

	prefix, measured, ok := strings.Cut(said, ": ")
	if !ok || sha256.Sum256([]byte(measured)) != [32]byte(e.Digest) {
		return false
	}
	if word, _, _ := strings.Cut(measured, " "); loads[word] {
		if len(r.s.Loads) == maxLoads {
			return false
		}
		r.s.Loads = append(r.s.Loads, clean(measured, maxCommandLine))
	}
	switch prefix + ": " {
	case grubCommand:
		if len(r.s.Commands) == maxCommands {
			return false
		}
		r.s.Commands = append(r.s.Commands, clean(measured, maxText))
		return true
	case grubLinux:
		_, options, _ := strings.Cut(measured, " ") // the first word is the kernel's path
		if r.s.CommandLine != "" {
			r.s.oddly("PCR 8: GRUB measured two command lines")
		}
		r.s.CommandLine = clean(options, maxCommandLine)
		return true
	}
	return false
}

// names fills in what only digests were measured of, from what the machine
// says of itself, if that is what was measured.
func (r *reader) names() {
	if d, ok := r.s.section(".uname"); ok && isText(d, r.evidence.Kernel) {
		r.s.Kernel = clean(r.evidence.Kernel, 100)
	}
	if r.s.Kernel == "" {
		r.s.KernelSaid = clean(r.evidence.Kernel, 100)
	}
	said := strings.TrimRight(r.evidence.CommandLine, "\n\x00")
	if d, ok := r.s.section(".cmdline"); ok && isText(d, said) {
		r.s.CommandLine = clean(said, maxCommandLine)
	}
	for _, m := range r.s.Config { // given to the stub: it goes before the image's
		if m.Text && sameWords(m.Name, said) {
			r.s.CommandLine = m.Name
		}
	}
	for _, m := range r.s.Files {
		if r.s.CommandLine == "" && isText(m.SHA256, said) {
			r.s.CommandLine = clean(said, maxCommandLine)
		}
	}
}

// sameWords: the kernel shows its command line with other white space.
func sameWords(a, b string) bool { return slices.Equal(strings.Fields(a), strings.Fields(b)) }

// isText tells whether a digest is that of a text, as programs write it: bare,
// with a line's end, with a NUL, or in UTF-16.
func isText(d Digest, s string) bool {
	if s == "" {
		return false
	}
	var wide []byte
	for _, u := range utf16.Encode([]rune(s)) {
		wide = binary.LittleEndian.AppendUint16(wide, u)
	}
	for _, b := range [][]byte{[]byte(s), []byte(s + "\n"), []byte(s + "\x00"), wide, append(bytes.Clone(wide), 0, 0)} {
		if sha256.Sum256(b) == d {
			return true
		}
	}
	return false
}
