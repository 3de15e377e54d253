package uki

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Offsets and sizes of a PE32+ file, in bytes (Microsoft PE format, "COFF
// file header", "Optional header", "Section table").
const (
	offPE          = 0x3c // in the DOS header: where the PE header is
	coffSize       = 4 + 20
	optionalFixed  = 112 // of PE32+, before the data directories
	sectionSize    = 40
	magicPE32Plus  = 0x20b
	dirSecurity    = 4 // index of the certificate table
	maxSections    = 96
	sizeOfDirEntry = 8

	// IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ
	readOnlyData = 0x40000040
)

// machines names IMAGE_FILE_MACHINE values as EFI file names do.
var machines = map[uint16]string{0x8664: "x64", 0x14c: "ia32", 0xaa64: "aa64", 0x1c2: "arm", 0x5064: "riscv64"}

// A file is a PE file taken apart: all that is in it is headers and
// sections, so that headers can grow without a stale offset anywhere.
type file struct {
	head     []byte // from the start to the section table, as it was
	pe       int    // where the PE header is in head
	sections []section
}

type section struct {
	name        string
	virtualSize uint32
	address     uint32
	flags       uint32
	raw         []byte // as in the file; encode pads it to the file alignment
}

// data is the section without its padding.
func (s section) data() []byte { return s.raw[:min(int(s.virtualSize), len(s.raw))] }

var errShort = errors.New("it is cut short")

func parse(data []byte) (*file, error) {
	if len(data) < 0x40 || data[0] != 'M' || data[1] != 'Z' {
		return nil, errors.New("not a PE file")
	}
	pe := int(binary.LittleEndian.Uint32(data[offPE:]))
	if pe < 0x40 || pe > 1<<16 || len(data) < pe+coffSize+optionalFixed {
		return nil, errShort
	}
	if string(data[pe:pe+4]) != "PE\x00\x00" {
		return nil, errors.New("not a PE file")
	}

	count := int(binary.LittleEndian.Uint16(data[pe+6:]))
	optional := int(binary.LittleEndian.Uint16(data[pe+20:]))
	table := pe + coffSize + optional
	switch {
	case optional < optionalFixed || binary.LittleEndian.Uint16(data[pe+coffSize:]) != magicPE32Plus:
		return nil, errors.New("not a PE32+ file: only 64-bit EFI programs are taken")
	case count == 0 || count > maxSections:
		return nil, fmt.Errorf("it has %d sections, want 1 to %d", count, maxSections)
	case len(data) < table+count*sectionSize:
		return nil, errShort
	}

	f := &file{head: slices.Clone(data[:table]), pe: pe}
	if a := f.fileAlignment(); a < 16 || a > 1<<16 || a&(a-1) != 0 || f.sectionAlignment() < a || f.sectionAlignment() > 1<<20 || f.sectionAlignment()&(f.sectionAlignment()-1) != 0 {
		return nil, fmt.Errorf("its sections are aligned to %d bytes in the file and %d in memory", f.fileAlignment(), f.sectionAlignment())
	}

	for i := range count {
		s, err := parseSection(data, data[table+i*sectionSize:][:sectionSize])
		if err != nil {
			return nil, err
		}
		if i > 0 && s.address < f.sections[i-1].end() {
			return nil, fmt.Errorf("section %s lies over section %s", s.name, f.sections[i-1].name)
		}
		f.sections = append(f.sections, s)
	}

	return f, nil
}

func parseSection(data, row []byte) (section, error) {
	s := section{
		name:        strings.TrimRight(string(row[:8]), "\x00"),
		virtualSize: binary.LittleEndian.Uint32(row[8:]),
		address:     binary.LittleEndian.Uint32(row[12:]),
		flags:       binary.LittleEndian.Uint32(row[36:]),
	}
	size, at := uint64(binary.LittleEndian.Uint32(row[16:])), uint64(binary.LittleEndian.Uint32(row[20:]))
	if at+size > uint64(len(data)) || uint64(s.address)+uint64(s.virtualSize) > 1<<32-1 {
		return s, fmt.Errorf("section %s: %w", s.name, errShort)
	}

	s.raw = data[at : at+size : at+size] // not copied: an image may be large, and nobody writes to it
	return s, nil
}

// end is the first address after the section.
func (s section) end() uint32 { return s.address + max(s.virtualSize, 1) }

func (f *file) optional(off int) []byte  { return f.head[f.pe+coffSize+off:] }
func (f *file) sectionAlignment() uint32 { return binary.LittleEndian.Uint32(f.optional(32)) }
func (f *file) fileAlignment() uint32    { return binary.LittleEndian.Uint32(f.optional(36)) }

func (f *file) machineName() string {
	return machines[binary.LittleEndian.Uint16(f.head[f.pe+4:])]
}

// signed tells whether the file has a certificate table, which lies behind
// the sections.
func (f *file) signed() bool {
	dirs := binary.LittleEndian.Uint32(f.optional(108))
	if dirs <= dirSecurity || len(f.optional(optionalFixed)) < (dirSecurity+1)*sizeOfDirEntry {
		return false
	}
	return binary.LittleEndian.Uint32(f.optional(optionalFixed+dirSecurity*sizeOfDirEntry+4)) != 0
}

func (f *file) clone() *file {
	return &file{slices.Clone(f.head), f.pe, slices.Clone(f.sections)}
}

// add appends a section, or puts other data into the one of that name.
func (f *file) add(s Section) error {
	for i := range f.sections {
		if f.sections[i].name != s.Name {
			continue
		}
		if i+1 < len(f.sections) && f.sections[i].address+uint32(len(s.Data)) > f.sections[i+1].address {
			return fmt.Errorf("section %s of the stub has room for %d bytes, not for %d", s.Name, f.sections[i+1].address-f.sections[i].address, len(s.Data))
		}
		f.sections[i].raw, f.sections[i].virtualSize = s.Data, uint32(len(s.Data))
		return nil
	}

	if len(f.sections) == maxSections {
		return fmt.Errorf("there are %d sections already", maxSections)
	}
	end := f.sections[len(f.sections)-1].end()
	if uint64(end)+uint64(len(s.Data))+2*uint64(f.sectionAlignment()) > 1<<32-1 {
		return errors.New("an image has at most 4 GiB")
	}

	f.sections = append(f.sections, section{s.Name, uint32(len(s.Data)), align(end, f.sectionAlignment()), readOnlyData, s.Data})
	return nil
}

// padded is how many bytes of the file a section takes.
func (f *file) padded(s section) uint32 { return align(uint32(len(s.raw)), f.fileAlignment()) }

func align(n, to uint32) uint32 { return (n + to - 1) &^ (to - 1) }

// encode lays the file out anew: headers, then each section's bytes in the
// order of the table. The symbol table is left out: nobody reads it, and
// its place would have to be moved.
func (f *file) encode() ([]byte, error) {
	headers := align(uint32(len(f.head)+len(f.sections)*sectionSize), f.fileAlignment())
	if headers > f.sections[0].address {
		return nil, errors.New("building the image: the stub leaves no room for the headers of more sections")
	}

	head := slices.Clone(f.head)
	le := binary.LittleEndian
	le.PutUint16(head[f.pe+6:], uint16(len(f.sections)))
	le.PutUint64(head[f.pe+12:], 0) // symbol table, number of symbols
	optional := head[f.pe+coffSize:]
	last := f.sections[len(f.sections)-1]
	le.PutUint32(optional[56:], align(last.end(), f.sectionAlignment())) // SizeOfImage
	le.PutUint32(optional[60:], headers)
	le.PutUint32(optional[64:], 0) // CheckSum: EFI does not look at it

	total := int(headers)
	for _, s := range f.sections {
		total += int(f.padded(s))
	}
	out := append(make([]byte, 0, total), head...)
	at, data := headers, uint32(0)
	for _, s := range f.sections {
		row := make([]byte, sectionSize)
		copy(row, s.name)
		le.PutUint32(row[8:], s.virtualSize)
		le.PutUint32(row[12:], s.address)
		le.PutUint32(row[16:], f.padded(s))
		if len(s.raw) > 0 {
			le.PutUint32(row[20:], at)
		}
		le.PutUint32(row[36:], s.flags)
		out = append(out, row...)
		at += f.padded(s)
		if s.flags&0x40 != 0 { // IMAGE_SCN_CNT_INITIALIZED_DATA
			data += f.padded(s)
		}
	}
	le.PutUint32(out[f.pe+coffSize+8:], data) // SizeOfInitializedData

	out = append(out, make([]byte, int(headers)-len(out))...)
	for _, s := range f.sections {
		out = append(out, s.raw...)
		out = append(out, make([]byte, int(f.padded(s))-len(s.raw))...)
	}

	return out, nil
}
