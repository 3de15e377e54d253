// Package uki makes unified kernel images: one PE file that holds a boot
// stub, a kernel, an initrd and a command line, so that the firmware checks
// one signature over all of them and the stub measures each into PCR 11
// (UAPI.5, Unified Kernel Image; systemd-stub(7)).
package uki

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxSection caps one section, in bytes: a PE file counts in 32 bits, and
// what the firmware reads at boot should be far below that.
const maxSection = 1 << 30

// A Section is one part of an image.
type Section struct {
	Name string // with its dot, as in ".linux"; at most 8 bytes
	Data []byte
}

// measured are the sections that a stub measures, in the order in which it
// does (unified_sections in src/fundamental/uki.c). Older stubs know fewer
// of them: see Stub.Measures.
var measured = []string{
	".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey",
}

// A Stub is the program in front of an image: systemd's linuxx64.efi.stub
// or one that keeps the same contract.
type Stub struct {
	file *file
}

// ReadStub reads a boot stub. It refuses a file that carries sections of an
// image already, or a signature: adding to it would break both.
func ReadStub(data []byte) (*Stub, error) {
	f, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading the boot stub: %w", err)
	}

	for _, s := range f.sections {
		if s.name == ".linux" || s.name == ".cmdline" {
			return nil, fmt.Errorf("reading the boot stub: it has a section %s: this is an image, not a stub", s.name)
		}
	}
	if f.signed() {
		return nil, errors.New("reading the boot stub: it is signed; give the unsigned stub, and sign the image")
	}
	if !slices.ContainsFunc(f.sections, func(s section) bool { return s.name == ".sdmagic" }) {
		return nil, errors.New("reading the boot stub: it has no section .sdmagic: not a systemd-stub")
	}

	return &Stub{f}, nil
}

// Machine is the stub's processor: "x64", "aa64" and so on, as in the names
// of EFI binaries.
func (s *Stub) Machine() string { return s.file.machineName() }

// Version is what the stub says of itself in section .sdmagic, such as
// "systemd-stub 252.39-1~deb12u2"; "" if it does not say.
func (s *Stub) Version() string {
	for _, sec := range s.file.sections {
		if sec.name == ".sdmagic" {
			text, _, _ := strings.Cut(string(sec.raw), " ####")
			_, text, _ = strings.Cut(text, "LoaderInfo: ")
			return text
		}
	}
	return ""
}

// Measures tells whether the stub knows a section, and so measures it: the
// names that it knows stand in its data. A section that it does not know is
// carried along and measured by nobody, so Build refuses it.
func (s *Stub) Measures(name string) bool {
	if !slices.Contains(measured, name) {
		return false
	}
	want := append([]byte(name), 0)
	return slices.ContainsFunc(s.file.sections, func(sec section) bool { return bytes.Contains(sec.raw, want) })
}

// Build appends the sections to the stub and returns the image. The kernel
// goes last, since it may unpack itself over what follows it in memory. A
// section that the stub has already (.sbat) is replaced if it fits, and
// refused if not. The same inputs give the same bytes.
func (s *Stub) Build(sections []Section) ([]byte, error) {
	ordered := slices.Clone(sections)
	slices.SortStableFunc(ordered, func(a, b Section) int { return last(a.Name) - last(b.Name) })

	f := s.file.clone()
	for i, sec := range ordered {
		switch {
		case len(sec.Name) < 2 || len(sec.Name) > 8 || sec.Name[0] != '.':
			return nil, fmt.Errorf("building the image: %q is no name of a section: a dot and up to 7 characters", sec.Name)
		case len(sec.Data) == 0:
			return nil, fmt.Errorf("building the image: section %s is empty", sec.Name)
		case len(sec.Data) > maxSection:
			return nil, fmt.Errorf("building the image: section %s has %d bytes, more than %d", sec.Name, len(sec.Data), maxSection)
		case slices.ContainsFunc(ordered[:i], func(o Section) bool { return o.Name == sec.Name }):
			return nil, fmt.Errorf("building the image: section %s is given twice", sec.Name)
		case sec.Name != ".pcrsig" && !s.Measures(sec.Name):
			return nil, fmt.Errorf("building the image: the stub (%s) does not measure section %s", s.Version(), sec.Name)
		}
		if err := wellFormed(sec); err != nil {
			return nil, fmt.Errorf("building the image: %w", err)
		}
		if err := f.add(sec); err != nil {
			return nil, fmt.Errorf("building the image: %w", err)
		}
	}

	return f.encode()
}

// wellFormed refuses what the kernel would pass over in silence: microcode
// that is no plain cpio archive with its files at their places
// (Documentation/arch/x86/microcode.rst), and what is no device tree
// (Devicetree Specification, section 5.2).
func wellFormed(sec Section) error {
	switch sec.Name {
	case ".ucode":
		if !bytes.HasPrefix(sec.Data, []byte("07070")) || !bytes.Contains(sec.Data, []byte("kernel/x86/microcode/")) {
			return errors.New("section .ucode: want an uncompressed cpio archive with kernel/x86/microcode/GenuineIntel.bin or AuthenticAMD.bin")
		}
	case ".dtb":
		if !bytes.HasPrefix(sec.Data, []byte{0xd0, 0x0d, 0xfe, 0xed}) {
			return errors.New("section .dtb: this is no flattened device tree (file.dtb of dtc)")
		}
	}
	return nil
}

// last is 1 for the kernel, which must be the last section.
func last(name string) int {
	if name == ".linux" {
		return 1
	}
	return 0
}

// Read returns the sections of an image that the UKI specification names,
// in the file's order. Their data is part of image.
func Read(image []byte) ([]Section, error) {
	f, err := parse(image)
	if err != nil {
		return nil, fmt.Errorf("reading the image: %w", err)
	}

	var out []Section
	for _, s := range f.sections {
		if s.name == ".pcrsig" || slices.Contains(measured, s.name) {
			out = append(out, Section{s.name, s.data()})
		}
	}
	if !slices.ContainsFunc(out, func(s Section) bool { return s.Name == ".linux" }) {
		return nil, errors.New("reading the image: it has no section .linux: not a unified kernel image")
	}

	return out, nil
}

// Machine is the processor that an EFI program is for, as EFI names it
// ("x64", "aa64"); "" if it is none.
func Machine(program []byte) string {
	f, err := parse(program)
	if err != nil {
		return ""
	}
	return f.machineName()
}
