package kms

import "time"

// A Status is what the KMS decided, on the whole or for one volume. Only
// the TPM that opened the challenge gets to see it.
type Status byte

const (
	OK             Status = iota + 1
	Pending               // node not approved yet: keep asking, the operator sees its words
	Quarantined           // an operator stopped this node: keep asking until it is readmitted
	Refused               // closed enrollment, or the node was deleted: keep asking, `policy explain` tells which
	PCRMismatch           // booted something that was not approved: keep asking, until `node accept`
	PCR15Used             // volumes were already opened in this boot: final: reboot by firmware, once
	TPMCleared            // the TPM's counters fell: keep asking, until `node accept`
	NotBound              // volume is not this node's: keep asking, node approve --volume binds it
	NoSecret              // volume is known, but holds no secret that this node can use: keep asking
	HeaderDiffers         // LUKS header is not the enrolled one: final
	HeaderRollback        // LUKS header is older than the last committed change: keep asking, until `volume accept-header`
	Exists                // put or enroll would change what is there: nothing was changed
	TableFull             // too many nodes await approval: keep asking
	TooOften              // it stored as much within the hour as it may: as HTTP's 429, ask again later
)

// statusCodes are the stable names, in the order of the constants.
var statusCodes = [...]string{
	"ok", "pending", "quarantined", "refused", "pcr-mismatch", "pcr15-used", "tpm-cleared",
	"not-bound", "no-secret", "header-differs", "header-rollback", "exists", "pending-full", "too-often",
}

func (s Status) valid() bool { return s >= OK && int(s) <= len(statusCodes) }

// Code is the stable name of s.
func (s Status) Code() string {
	if !s.valid() {
		return "unknown"
	}
	return statusCodes[s-1]
}

// Codes of the client's own errors; those of Status come beside them.
const (
	CodeUnreachable = "kms-unreachable" // no connection, or it broke: retry
	CodeBusy        = "kms-busy"        // 503: retry after Error.RetryAfter
	CodeWrongPin    = "kms-wrong-pin"   // does not hold a pinned key: set this candidate aside, next one
	CodeBadAnswer   = "kms-bad-answer"  // answers nonsense: set this candidate aside, next one
	CodeNoGrant     = "kms-no-grant"    // it did not take our proof (expired, restarted): retry from the start
	CodeBadURL      = "kms-bad-url"     // cannot be asked: set this candidate aside, next one
	CodeBadRequest  = "kms-bad-request" // what we were told to ask is outside lk1's bounds: final
)

// An Error is a failed exchange with a KMS.
type Error struct {
	What       string // gerund and object
	code       string
	RetryAfter time.Duration // with CodeBusy
	Words      string        // what the KMS says of it to people, printable; or why it was not told what it asked
	Err        error         // nil when the KMS decided so

	Cookie []byte // with which Wait hears of a change; empty: the KMS did not decide
}

func (e *Error) Error() string {
	if e.Err == nil && e.Words != "" {
		return e.What + ": the KMS says " + e.code + ": " + e.Words
	}
	if e.Err == nil {
		return e.What + ": the KMS says " + e.code
	}
	return e.What + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Code is the stable code: one of this package's constants or a Status'.
func (e *Error) Code() string { return e.code }
