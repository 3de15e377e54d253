package kms

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"

	"latchkey/internal/secret"
)

// EvidencePath is where a node shows its event log, when it was asked to.
const EvidencePath = "/lk1/evidence"

// Bounds of an M6, in bytes: a firmware's log has 20 to 60 KB, and few have
// more than the 64 KiB that it reserves at least.
const (
	MaxEvidence    = 128 << 10
	MaxLog         = 120 << 10
	maxCommandLine = 4096
	maxKernel      = 256
)

// A BootLog is what a node's boot measured, as it says itself.
type BootLog struct {
	Log         []byte // of the firmware, in the TCG's format; empty: there is none
	CommandLine string // the kernel's
	Kernel      string // its release
}

// A Witness is a Prover that can show what its boot measured. One that
// cannot is never asked twice in vain: it only stays unexplained.
type Witness interface {
	Prover
	BootLog(ctx context.Context) (BootLog, error)
}

// An Ask is a KMS that wants to see a node's event log. It travels in M4,
// where a node that does not know it sees padding.
type Ask struct {
	Cookie    []byte // to be given back
	Selection []int  // PCRs of the second quote, ascending
}

// Bounds of what M4's padding holds.
const (
	maxAskCookie = 1024
	MaxWords     = 300 // of an explanation
)

// encodePadding fills M4's padding, of exactly n bytes: an ask and words for
// people, each of which may be empty. What does not fit is left out: the
// answer has one size.
func (d *Decision) encodePadding(n int) []byte {
	var w Writer
	var cookie, selection []byte
	if d.Ask != nil {
		cookie = d.Ask.Cookie
		for _, pcr := range d.Ask.Selection {
			selection = append(selection, byte(pcr))
		}
	}
	w.Field(cookie)
	w.Field(selection)
	w.Field([]byte(d.Words))
	if len(w.b) > n {
		return make([]byte, n)
	}
	return append(w.b, make([]byte, n-len(w.b))...)
}

// parsePadding is for a KMS that knows asks; another's padding is zeros,
// which say nothing. It fails no answer.
func (d *Decision) parsePadding(b []byte) {
	r := NewReader(b)
	cookie, selection, words := r.Field("cookie", maxAskCookie), r.Field("selection", 24), r.Field("words", MaxWords)
	if r.err != nil {
		return
	}
	d.Words = string(words)
	if len(cookie) == 0 || len(selection) == 0 {
		return
	}
	a := &Ask{Cookie: bytes.Clone(cookie)}
	for i, pcr := range selection {
		if pcr > 23 || i > 0 && pcr <= selection[i-1] {
			return
		}
		a.Selection = append(a.Selection, int(pcr))
	}
	d.Ask = a
}

// Evidence is M6, node to KMS: the plain text.
type Evidence struct {
	Quote Quote // over the ask's selection, with EvidenceData
	BootLog
}

// EvidenceData is what the quote of an M6 must carry: it ties it to one
// exchange.
func EvidenceData(th3 [32]byte) [32]byte { return hash([]byte("lk1/evidence"), th3[:]) }

// SealedEvidence is M6 as it travels. The sealed part has no length in
// front: it is the rest of the message, and may have more than a field's
// 64 KiB.
type SealedEvidence struct {
	Fresh  [32]byte // mixed into k_m5
	Cookie []byte   // of the ask
	Sealed []byte
}

// Encode is the message's bytes.
func (m *SealedEvidence) Encode() []byte {
	var w Writer
	w.Field(m.Fresh[:])
	w.Field(m.Cookie)
	return append(w.b, m.Sealed...)
}

// ParseEvidence decodes M6, still sealed.
func ParseEvidence(b []byte) (*SealedEvidence, error) {
	if len(b) > MaxEvidence {
		return nil, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	r, m := &Reader{b: b}, &SealedEvidence{}
	m.Fresh = [32]byte(r.Exact("fresh bytes", 32))
	m.Cookie = bytes.Clone(r.Field("cookie", maxAskCookie))
	m.Sealed = bytes.Clone(r.b)
	return m, r.err
}

// SealEvidence makes M6. Its key is of k_m5, by another name.
func SealEvidence(reportKey secret.Bytes, th3 [32]byte, cookie []byte, e *Evidence) (*SealedEvidence, error) {
	m := &SealedEvidence{Cookie: cookie}
	rand.Read(m.Fresh[:])
	key, err := freshen(reportKey, m.Fresh, "lk1 m6 fresh")
	if err != nil {
		return nil, err
	}
	defer key.Wipe()

	var w Writer
	w.Field(e.Quote.Attest)
	w.Field(e.Quote.Signature)
	w.Field(encodePCRs(e.Quote.PCRs))
	w.Field([]byte(e.CommandLine[:min(len(e.CommandLine), maxCommandLine)]))
	w.Field([]byte(e.Kernel[:min(len(e.Kernel), maxKernel)]))
	log := e.Log
	if len(log) > MaxLog {
		log = nil // the KMS sees that there is none that it could take
	}
	m.Sealed, err = seal(key, th3[:], append(w.b, log...))
	return m, err
}

// OpenEvidence opens M6 with what the ask's cookie held.
func OpenEvidence(m *SealedEvidence, reportKey secret.Bytes, th3 [32]byte) (*Evidence, error) {
	plain, err := openFresh(reportKey, m.Fresh, "lk1 m6 fresh", th3, m.Sealed)
	if err != nil {
		return nil, err
	}

	r, e := &Reader{b: plain}, &Evidence{}
	e.Quote = readQuote(r)
	e.CommandLine = string(r.Field("command line", maxCommandLine))
	e.Kernel = string(r.Field("kernel", maxKernel))
	e.Log = r.b
	if r.err == nil && len(e.Log) > MaxLog {
		return nil, fmt.Errorf("%w: event log of %d bytes", errMessage, len(e.Log))
	}
	return e, r.err
}
