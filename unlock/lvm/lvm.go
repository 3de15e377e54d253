// Package lvm reads LVM2: which logical volumes are on physical volumes,
// and on which of their sectors. It writes nothing. Linear and striped
// volumes can be mapped; all others are named, with what they are.
//
// The sources are lvm2's: lib/format_text/layout.h for what is on the disk,
// lib/format_text/import_vsn1.c for the text in it.
package lvm

import (
	"errors"
	"strings"
)

// What an error of this package means; its text is one line for people.
var (
	// ErrNone means that the device holds no physical volume.
	ErrNone = errors.New("no physical volume")
	// ErrDamaged means that a rule of the format is broken.
	ErrDamaged = errors.New("damaged LVM metadata")
	// ErrMissing means that a physical volume is not there, or not the one
	// that it should be.
	ErrMissing = errors.New("physical volume missing")
	// ErrUnsupported means that lvm2 itself is needed.
	ErrUnsupported = errors.New("not supported")
	// ErrNames means that two groups have one name, so that a volume's name says
	// nothing.
	ErrNames = errors.New("two volume groups have one name")
)

// A failure is a line for people that errors.Is knows the kind of.
type failure struct {
	kind error
	line string
}

func (f *failure) Error() string { return f.line }
func (f *failure) Unwrap() error { return f.kind }

// An ID is the UUID of a physical volume, a group or a logical volume: 32
// characters, which people see in groups.
type ID string

// String groups the characters as lvm2 does: id_write_format in
// lib/uuid/uuid.c.
func (id ID) String() string {
	if len(id) != 32 {
		return string(id)
	}
	s := string(id)
	return strings.Join([]string{s[:6], s[6:10], s[10:14], s[14:18], s[18:22], s[22:26], s[26:]}, "-")
}

// parseID reads an ID with or without dashes.
func parseID(s string) (ID, bool) {
	s = strings.ReplaceAll(s, "-", "")
	if len(s) != 32 {
		return "", false
	}
	for _, c := range []byte(s) {
		if !isAlnum(c) && c != '!' && c != '#' {
			return "", false
		}
	}
	return ID(s), true
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
