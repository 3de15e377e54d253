package luks2

import (
	"errors"
	"fmt"
)

// Rejected says which of our rules a header breaks. The codes are stable:
// scripts, tests and the boot's report compare them.
type Rejected struct {
	code string
	what string
}

// ErrNotLUKS means that neither header copy shows a LUKS magic. The device
// may hold anything: it says nothing about being empty.
var ErrNotLUKS = &Rejected{"not-luks", "no LUKS header found"}

// ErrLUKS1 means a LUKS1 header: ReadLUKS1 reads it, and nothing here
// changes it.
var ErrLUKS1 = &Rejected{"luks1", "the header is LUKS version 1"}

// ErrDamaged means that a LUKS2 magic is there, but no copy of the header
// has a valid checksum.
var ErrDamaged = &Rejected{"headers-damaged", "both header copies are damaged"}

// Code is the rule, in a few lower-case words joined by dashes.
func (r *Rejected) Code() string { return r.code }

// What is one human line, without the code.
func (r *Rejected) What() string { return r.what }

func (r *Rejected) Error() string { return r.code + ": " + r.what }

func reject(code, format string, args ...any) *Rejected {
	return &Rejected{code, fmt.Sprintf(format, args...)}
}

func isRejected(err error) bool {
	_, ok := errors.AsType[*Rejected](err)
	return ok
}

// IOError is a header that could not be read: worth another try, unlike a
// Rejected.
type IOError struct{ Err error }

// Code is "header-io".
func (*IOError) Code() string    { return "header-io" }
func (e *IOError) Error() string { return "reading LUKS header: " + e.Err.Error() }
func (e *IOError) Unwrap() error { return e.Err }
