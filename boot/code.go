package boot

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

// A StepError is why a step failed. Its code is stable: people and
// scripts look for it.
type StepError struct {
	Step string
	Code string
	Err  error
}

func (e *StepError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Step, e.Code, e.Err) }
func (e *StepError) Unwrap() error { return e.Err }

// codeOf finds the stable code in an error: that of the first error in
// the chain that has one.
func codeOf(err error) string {
	var coded interface{ Code() string }
	switch {
	case err == nil:
		return ""
	case errors.As(err, &coded):
		return coded.Code()
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return "failed"
}

// coded is an error with a code of our own.
type coded struct {
	code string
	err  error
}

func (c *coded) Code() string  { return c.code }
func (c *coded) Error() string { return c.err.Error() }
func (c *coded) Unwrap() error { return c.err }

func fail(code, format string, args ...any) error {
	return &coded{code, fmt.Errorf(format, args...)}
}

// A Meaning is what a code stands for: what follows it, and what a person
// at the machine can do.
type Meaning struct {
	Class  Class
	Advice string
}

// Meanings is the one table of codes. A code that is not in it is
// retried: an error nobody thought of must not strand a machine.
func Meanings(code string) Meaning {
	if m, ok := codes()[code]; ok {
		return m
	}
	return Meaning{Retry, ""}
}

// codes is the table; docs/codes.md is made of it.
func codes() map[string]Meaning {
	return map[string]Meaning{
		"pending":          {Operator, "approve this machine: latchkey-kms node approve WORDS"},
		"quarantined":      {Operator, "this machine is quarantined: latchkey-kms node readmit WORDS"},
		"refused":          {Operator, "the key server refuses this machine: latchkey-kms policy explain WORDS tells why"},
		"not-bound":        {Operator, "the volume is not this machine's yet: latchkey-kms node approve WORDS"},
		"no-secret":        {Operator, "the key server has no key for the volume: latchkey-kms volume put UUID, or latchkey volume enroll"},
		"pending-full":     {Operator, "too many machines await approval: latchkey-kms node list"},
		"pcr-mismatch":     {Operator, "this boot differs from what was approved: if that is right, latchkey-kms node accept WORDS"},
		"tpm-cleared":      {Operator, "the TPM was cleared or replaced: latchkey-kms node accept WORDS"},
		"header-rollback":  {Operator, "an old LUKS header was put back: latchkey-kms volume accept-header UUID if you did that"},
		"tpm-lockout":      {Operator, "the TPM is in lockout after wrong passwords: wait, or its owner resets it (tpm2_dictionarylockout)"},
		"plan-invalid":     {Final, "build the image again: latchkey image build"},
		"volume-missing":   {Final, "look at the cable and the disk: latchkey volume inspect DEVICE"},
		"volume-clones":    {Final, "two disks carry one UUID: remove one, or name its serial in the plan"},
		"header-rejected":  {Final, "the LUKS header breaks a rule: latchkey volume inspect DEVICE"},
		"headers-damaged":  {Final, "both LUKS headers are damaged: restore a header backup"},
		"volume-locked":    {Final, "this is not the volume that was enrolled: do not trust this disk"},
		"header-differs":   {Final, "this is not the volume that was enrolled: do not trust this disk"},
		"wrong-key":        {Operator, "no keyslot takes the granted key: enroll the volume again: latchkey volume enroll"},
		"kms-timeout":      {Final, "no key server granted in time: is it up, and on this LAN? latchkey-kms node list"},
		"kdf-memory":       {Final, "the keyslot needs more memory than the machine has: latchkey volume add-key --kdf pbkdf2"},
		"tpm-seal-policy":  {Final, "this TPM does not open the sealed key: enroll the volume again: latchkey volume enroll"},
		"tpm-seal-foreign": {Final, "this TPM does not open the sealed key: enroll the volume again: latchkey volume enroll"},
		"tpm-unsupported":  {Final, "this TPM cannot be used unattended: see docs/operators.md"},
		"tpm-auth":         {Final, "this TPM cannot be used unattended: see docs/operators.md"},
		"tpm-missing":      {Final, "there is no TPM: switch it on in the firmware"},
		"pcr15-used":       {Final, "this boot already opened its volumes (kexec): rebooting through the firmware"},
		"latch":            {Final, "the TPM did not take the closing measurement: nothing of the disk is run"},
		"root-unusable":    {Final, "the root does not mount: check root= and the file system on another machine"},
		"root-not-in-plan": {Final, "the root does not mount: check root= and the file system on another machine"},
		"no-init":          {Final, "the root has no init: check its contents on another machine"},
	}
}
