// Package kms is what a node and a key server (KMS) say to each other:
// latchkey protocol version 1 ("lk1"), its messages, its keys, and the
// node's client. It is safe over plain HTTP: the KMS signs its challenge
// with a key that the node's image pins, and only the node's TPM can open
// the challenge.
//
// The package is linked into init: no net/http, no TLS, no TPM library. A
// TPM's structures pass through as bytes.
package kms

import (
	"context"
	"errors"
	"time"

	"latchkey/internal/endpoint"
	"latchkey/internal/secret"
)

// DefaultPort is where a KMS listens.
const DefaultPort = endpoint.DefaultPort

// Service is the mDNS service type of a KMS.
const Service = "_latchkey._tcp"

// Paths of the three exchanges.
const (
	ChallengePath = "/lk1/challenge"
	RedeemPath    = "/lk1/redeem"
	ReportPath    = "/lk1/report"
)

// Bounds of what travels.
const (
	MaxMessage = 64 << 10 // any message, in bytes
	MaxVolumes = 16       // in one challenge
	MaxSecret  = 512      // a passphrase or a TPM-bound blob; LUKS2 passphrases end there too
	MaxPins    = 8        // KMS keys in one image
)

// A Quote is a TPM's signed statement about its PCRs.
type Quote struct {
	Attest    []byte // TPMS_ATTEST
	Signature []byte // TPMT_SIGNATURE
	PCRs      []PCR  // ascending
}

// A PCR is one value of the SHA-256 bank.
type PCR struct {
	Index int
	Value [32]byte
}

// A Prover is a TPM that can prove which machine it is and what it booted.
type Prover interface {
	EKPublic() []byte // TPMT_PUBLIC
	EKCert() []byte   // DER, or empty
	AKPublic() []byte // TPMT_PUBLIC
	// Activate opens a credential made for this EK and AK.
	Activate(ctx context.Context, blob, seed []byte) (secret.Bytes, error)
	Quote(ctx context.Context, pcrs []int, extra []byte) (Quote, error)
}

// An Operation is what a node asks of the KMS.
type Operation byte

const (
	// Get asks for the secrets of volumes, in an unlocking boot.
	Get Operation = iota + 1
	// Stage leaves the next secret of volumes, in an unlocking boot.
	Stage
	// Put leaves the first secret of volumes, from a running system.
	Put
	// Enroll registers the node, the headers and the volume keys' MACs.
	Enroll
	// Announce says, from a running system, that the next boot will be
	// another one. It gives and leaves nothing.
	Announce
	// Recovery begins, from a running system, an exchange about the volumes'
	// recovery keys: what it says and hears is in M7 and M8.
	Recovery
	// PresenceBeat shows, from a running system, the key that signs its beats.
	// It gives nothing out.
	PresenceBeat
)

func (o Operation) String() string {
	if o < Get || o > PresenceBeat {
		return "unknown"
	}
	return [...]string{"get", "stage", "put", "enroll", "announce", "recovery", "beat"}[o-1]
}

// A Kind says what the KMS keeps for a volume.
type Kind byte

const (
	// Static is the passphrase itself.
	Static Kind = iota + 1
	// Bound is a secret sealed to the node's TPM: the KMS cannot read it.
	Bound
	// Due, as the staged material of a grant, has no secret: the operator
	// wants another one, and only the node's TPM can make it. The node
	// leaves it by Stage.
	Due
	// Pushed, as the active material of a grant, is a passphrase that a person
	// gave for this boot. The node's plan says whether it takes one.
	Pushed
)

func (k Kind) String() string {
	switch k {
	case Static:
		return "static"
	case Bound:
		return "automated"
	case Due:
		return "due"
	case Pushed:
		return "pushed"
	}
	return "none"
}

// errors of a message that does not decode.
var errMessage = errors.New("malformed lk1 message")

// Deadlines of an exchange: protocol.md, "Limits".
const (
	connectTimeout  = 5 * time.Second
	exchangeTimeout = 20 * time.Second
)
