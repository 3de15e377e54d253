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
	switch code {
	case "pending":
		return Meaning{Operator, "approve this machine: latchkey-kms node approve WORDS"}
	case "quarantined":
		return Meaning{Operator, "this machine is quarantined: latchkey-kms node readmit WORDS"}
	case "refused":
		return Meaning{Operator, "the key server refuses this machine: latchkey-kms audit show tells why"}
	case "not-bound":
		return Meaning{Operator, "the volume is not this machine's yet: latchkey-kms node approve WORDS"}
	case "no-secret":
		return Meaning{Operator, "the key server has no key for the volume: latchkey-kms volume put UUID, or latchkey volume enroll"}
	case "pending-full":
		return Meaning{Operator, "too many machines await approval: latchkey-kms node list --pending"}
	case "pcr-mismatch":
		return Meaning{Operator, "this boot differs from what was approved: if that is right, latchkey-kms node accept WORDS"}
	case "tpm-cleared":
		return Meaning{Operator, "the TPM was cleared or replaced: latchkey-kms node accept WORDS"}
	case "header-rollback":
		return Meaning{Operator, "an old LUKS header was put back: latchkey-kms volume accept-header UUID if you did that"}
	case "tpm-lockout":
		return Meaning{Operator, "the TPM is in lockout after wrong passwords: wait, or its owner resets it (tpm2_dictionarylockout)"}
	case "plan-invalid":
		return Meaning{Final, "build the image again: latchkey image build"}
	case "volume-missing":
		return Meaning{Final, "look at the cable and the disk: latchkey volume inspect DEVICE"}
	case "volume-clones":
		return Meaning{Final, "two disks carry one UUID: remove one, or name its serial in the plan"}
	case "header-rejected":
		return Meaning{Final, "the LUKS header breaks a rule: latchkey volume inspect DEVICE"}
	case "headers-damaged":
		return Meaning{Final, "both LUKS headers are damaged: restore a header backup"}
	case "volume-locked", "header-differs":
		return Meaning{Final, "this is not the volume that was enrolled: do not trust this disk"}
	case "wrong-key":
		return Meaning{Operator, "no keyslot takes the granted key: enroll the volume again: latchkey volume enroll"}
	case "kdf-memory":
		return Meaning{Final, "the keyslot needs more memory than the machine has: latchkey volume add-key --kdf pbkdf2"}
	case "tpm-seal-policy", "tpm-seal-foreign":
		return Meaning{Final, "this TPM does not open the sealed key: enroll the volume again: latchkey volume enroll"}
	case "tpm-unsupported", "tpm-auth":
		return Meaning{Final, "this TPM cannot be used unattended: see docs/operators.md"}
	case "tpm-absent":
		return Meaning{Final, "there is no TPM: switch it on in the firmware"}
	case "pcr15-used":
		return Meaning{Final, "this boot already opened its volumes (kexec): rebooting through the firmware"}
	case "latch":
		return Meaning{Final, "the TPM did not take the closing measurement: nothing of the disk is run"}
	case "root-unusable", "root-not-in-plan":
		return Meaning{Final, "the root does not mount: check root= and the file system on another machine"}
	case "no-init":
		return Meaning{Final, "the root has no init: check its contents on another machine"}
	}
	return Meaning{Retry, ""}
}
