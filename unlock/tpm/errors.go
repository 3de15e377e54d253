package tpm

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// Codes of this package's errors. They are stable: logs, boot reports and
// the table of what to do next name them.
const (
	CodeAbsent      = "tpm-absent"       // no TPM there, or it does not answer; may come up later: retry
	CodeBusy        = "tpm-busy"         // it kept asking for patience for half a minute: retry
	CodeLockout     = "tpm-lockout"      // too many wrong authorizations; only time or its owner ends it: wait, do not hammer
	CodeUnsupported = "tpm-unsupported"  // has not the key type, bank or command needed: final
	CodeAuth        = "tpm-auth"         // a hierarchy has a password, so nobody unattended can use it: final
	CodeCredential  = "tpm-credential"   // the challenge was not made for this TPM, or was altered: next candidate
	CodeSealPolicy  = "tpm-seal-policy"  // the sealed secret is not to be had in this boot state (PCR 15 used, or others than it was sealed to): final
	CodeSealForeign = "tpm-seal-foreign" // the sealed secret is another TPM's, or this one was cleared: final
	CodePIN         = "tpm-pin"          // the PIN of a sealed secret is wrong; the TPM counts it: ask a person
	CodeFailed      = "tpm-failed"       // any other answer of the TPM: retry
)

// ErrFailureMode is a TPM that found itself broken (TPM_RC_FAILURE). Until it is
// reset it answers what it is and nothing else: Part 1, section 12.2.
var ErrFailureMode = errors.New("the TPM is in failure mode, which ends when the machine is switched off and on")

// An Error is a TPM's failure: what was asked, a stable code, the cause.
type Error struct {
	What string // gerund and object, such as "reading PCRs"
	code string
	Err  error
}

func (e *Error) Error() string { return e.What + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Code is the stable code, one of the constants above.
func (e *Error) Code() string { return e.code }

// failure gives an error of go-tpm its code.
func failure(what string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{what, e.code, e.Err}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if rc, ok := errors.AsType[tpm2.TPMRC](err); ok && rc == tpm2.TPMRCFailure {
		err = fmt.Errorf("%w: %w", ErrFailureMode, err)
	}
	return &Error{what, codeOf(err), err}
}

func codeOf(err error) string {
	rc, ok := errors.AsType[tpm2.TPMRC](err)
	switch {
	case !ok:
		return CodeFailed
	case again(rc):
		return CodeBusy
	case rc == tpm2.TPMRCLockout:
		return CodeLockout

	case rc == tpm2.TPMRCInitialize:
		return CodeAbsent
	case errors.Is(rc, tpm2.TPMRCAuthFail), errors.Is(rc, tpm2.TPMRCBadAuth), rc == tpm2.TPMRCAuthUnavailable:
		return CodeAuth
	case errors.Is(rc, tpm2.TPMRCCurve), errors.Is(rc, tpm2.TPMRCAsymmetric), rc == tpm2.TPMRCCommandCode:
		return CodeUnsupported
	}
	return CodeFailed
}
