package uki

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// Offsets into the optional header of PE32+, in bytes.
const (
	sizeOfHeaders = 60
	checkSum      = 64
	rvaCount      = 108
	dirEntries    = 112
)

// Authenticode is the digest of a PE file by which firmware and shim measure
// what they start (PCR 4), with a signature or without: SHA-256 over the file
// but its checksum, its certificate table and where that is (Windows
// Authenticode Portable Executable Signature Format, "Calculating the PE Image
// Hash"). Of a file without a signature no byte is padded, as EDK2 has it
// (MeasurePeImageAndExtend of DxeTpm2MeasureBootLib).
func Authenticode(program []byte) (d [32]byte, err error) {
	f, err := parse(program)
	if err != nil {
		return d, err
	}
	le := binary.LittleEndian
	optional := f.pe + coffSize
	headers := int(le.Uint32(program[optional+sizeOfHeaders:]))
	security := optional + dirEntries + dirSecurity*sizeOfDirEntry
	if headers < len(f.head) || headers > len(program) || headers < security+sizeOfDirEntry || le.Uint32(program[optional+rvaCount:]) <= dirSecurity {
		return d, errShort
	}
	certificates := int(le.Uint32(program[security+4:]))

	h := sha256.New()
	h.Write(program[:optional+checkSum])
	h.Write(program[optional+checkSum+4 : security])
	h.Write(program[security+sizeOfDirEntry : headers])
	hashed := headers
	table := program[len(f.head):][:len(f.sections)*sectionSize]
	rows := slices.SortedFunc(slices.Chunk(table, sectionSize), func(a, b []byte) int { return cmp.Compare(le.Uint32(a[20:]), le.Uint32(b[20:])) })
	for _, row := range rows {
		size, at := int(le.Uint32(row[16:])), int(le.Uint32(row[20:]))
		if at+size > len(program) {
			return d, errShort
		}
		h.Write(program[at:][:size])
		hashed += size
	}
	switch end := len(program) - certificates; {
	case hashed > end:
		return d, errShort
	default:
		h.Write(program[hashed:end])
	}
	return [32]byte(h.Sum(nil)), nil
}

// Boot loaders of which it is known what they measure.
const (
	Shim        = "shim"
	GRUB        = "grub"
	SystemdBoot = "systemd-boot"
)

// Loader tells by its content which boot loader a program is: systemd's
// programs have their name in a section .sdmagic (src/boot/efi/boot.c), others
// the component of their revocation (shim's SBAT.md), and a GRUB of one's own
// making its modules (util/grub-mkimagexx.c).
func Loader(program []byte) (string, error) {
	f, err := parse(program)
	if err != nil {
		return "", err
	}
	named := map[string]section{}
	for _, s := range f.sections {
		named[s.name] = s
	}
	magic := string(named[".sdmagic"].data())
	sbat := "\n" + string(named[".sbat"].data())
	_, modules := named["mods"]
	switch {
	case strings.Contains(magic, "LoaderInfo: systemd-boot "):
		return SystemdBoot, nil
	case strings.Contains(magic, "LoaderInfo: systemd-stub "):
		return "", errors.New("it is a unified kernel image or its stub: give a UKI as FILE.efi")
	case strings.Contains(sbat, "\nshim,"):
		return Shim, nil
	case strings.Contains(sbat, "\ngrub,") || modules:
		return GRUB, nil
	}
	return "", errors.New("it is none of shim, GRUB and systemd-boot: what it measures is not known")
}
