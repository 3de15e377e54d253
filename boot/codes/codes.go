// Package codes is what every stable code means: what follows it, and what
// a person can do. The init, the operator's commands and docs/codes.md have
// it in common. It imports nothing of latchkey.
package codes

import (
	"context"
	"errors"
	"fmt"
)

// A Class says what follows an error.
type Class int

// The classes: try again, keep asking because an operator must act, or
// give up and go to Rescue.
const (
	Retry Class = iota + 1
	Operator
	Final
)

// Codes that more than one package emits.
const (
	TPMMissing   = "tpm-missing"
	PlanInvalid  = "plan-invalid"
	Latch        = "latch"
	PCR15Used    = "pcr15-used"
	RootUnusable = "root-unusable"
)

// Codes of an error that brings none.
const (
	Timeout = "timeout" // its deadline passed
	Failed  = "failed"
)

// Find returns the stable code in an error: that of the first error in the
// chain that has one. ok is false if none has.
func Find(err error) (code string, ok bool) {
	if c, ok := errors.AsType[interface {
		error
		Code() string
	}](err); ok {
		return c.Code(), true
	}
	return "", false
}

// Of returns the code to show for an error: its own, else Timeout or
// Failed. It is "" for nil.
func Of(err error) string {
	if err == nil {
		return ""
	}
	if code, ok := Find(err); ok {
		return code
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Timeout
	}
	return Failed
}

// coded is an error with a code of our own.
type coded struct {
	code string
	err  error
}

func (c *coded) Code() string  { return c.code }
func (c *coded) Error() string { return c.err.Error() }
func (c *coded) Unwrap() error { return c.err }

// Fail makes an error with a code; format and args are fmt.Errorf's.
func Fail(code, format string, args ...any) error {
	return &coded{code, fmt.Errorf(format, args...)}
}
