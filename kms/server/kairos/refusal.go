package kairos

import (
	"fmt"

	"latchkey/kms"
)

// A Reason says why a proof that holds gets nothing.
type Reason int

// Reasons. The first ones pass: the node is to ask again.
const (
	Pending  Reason = iota + 1 // the operator has not approved it yet
	NoVolume                   // nothing of the node's matches the request
	NoSecret                   // the volume has no passphrase: a legacy node makes one
	Missing                    // the volume names a Secret that is not there
	Policy                     // a rule of the operator's says no for now; Detail: which
	// The others are final.
	NotEnrolled // unknown where enrollment is closed, or deleted
	Quarantined
	PCRMismatch // Detail: which
	NoKey       // the Secret has no such key; Detail: the key
	Replayed    // the attestation key was seen before
	ClockBehind // the TPM's clock is behind what it was
	TPMSealed   // encrypted by the node's TPM: only a legacy node opens it
	Downgrade   // the volume is bound to a boot state, which the legacy exchange does not show
	OtherServes // the volume is lk1's
	Kept        // there is a passphrase already
	TooManyKeys // more attestation keys than are remembered
)

var codes = map[Reason]string{
	Pending: "pending", NoVolume: "no-volume", NoSecret: "no-secret", Missing: "secret-missing", Policy: "policy", NotEnrolled: "not-enrolled",
	Quarantined: "quarantined", PCRMismatch: "pcr-mismatch", NoKey: "no-key", Replayed: "replayed", ClockBehind: "clock-behind",
	TPMSealed: "tpm-sealed", Downgrade: "downgrade", OtherServes: "lk1-volume", Kept: "kept", TooManyKeys: "too-many-keys",
}

// Code is the reason as logs have it.
func (r Reason) Code() string { return codes[r] }

// Final tells whether asking again changes nothing.
func (r Reason) Final() bool { return r >= NotEnrolled }

// A Refusal is a Keeper's no.
type Refusal struct {
	Reason Reason
	Detail string
}

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return r.Reason.Code()
	}
	return r.Reason.Code() + ": " + r.Detail
}

// text is what a node of the new generation is told. Tools look for parts
// of it. Neither the pinned values nor the shown ones are in it.
func (r *Refusal) text() string {
	const failed = "Attestation verification failed: "
	switch r.Reason {
	case Quarantined:
		return failed + "TPM is quarantined"
	case PCRMismatch:
		return failed + "attestation verification failed: PCR verification failed: " + r.Detail + " changed - boot state verification failed"
	case NoKey:
		return failed + "passphrase not found in secret at key: " + r.Detail

	case NotEnrolled:
		return failed + "TPM is not enrolled"
	case Replayed:
		return failed + "attestation key was used before"
	case ClockBehind:
		return failed + "TPM clock is behind its last value"

	case TPMSealed:
		return failed + "passphrase was encrypted by this TPM: only /getPass gives it"
	}
	return failed + r.Reason.Code()
}

// legacyText is what a legacy node is told. It takes "No secret" for leave
// to make one, so nothing else may read like it.
func (r *Refusal) legacyText(hash kms.NodeID, want Request) string {
	switch r.Reason {
	case NoSecret:
		return fmt.Sprintf("No secret found for %s and %s", hash, want.Label)
	case Quarantined:
		return "quarantined: " + want.Label
	case NoKey:
		return "passphrase not found in secret at key: " + r.Detail
	case Pending, NoVolume, Missing, NotEnrolled:
		return "no volume found with data from request and hash: " + hash.String()
	}
	return r.Reason.Code()
}
