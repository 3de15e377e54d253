package kms

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"

	"latchkey/internal/secret"
)

// BeatPath is where a running machine says that it is there.
const BeatPath = "/lk1/beat"

// Bounds of a beat, in bytes.
const (
	MaxTicket       = 256 // what the KMS must remember of the machine
	BeatKeySize     = 16  // of the key that answers are known by
	BeatSignature   = 64  // r ‖ s of ECDSA with P-256 and SHA-256
	beatMAC         = 16
	maxBeat         = 3 + 2 + MaxTicket + 2 + BeatSignature
	maxBeatResponse = 2 + MaxTicket + 2 + beatMAC
)

// A Beater is a TPM that can say that its machine is there: with a signing
// key of the null hierarchy, whose seed is another one after each TPM reset
// (Part 1, section 14), so that the key dies with this boot.
type Beater interface {
	Prover
	// BeatKey makes the key, or finds the same one again, and has the AK
	// certify it over extra.
	BeatKey(ctx context.Context, extra []byte) (BeatKey, error)
	// SignBeat signs a SHA-256 digest with that key: r ‖ s.
	SignBeat(ctx context.Context, digest [32]byte) ([BeatSignature]byte, error)
}

// A BeatKey is the public part of the key that signs beats, and the AK's word
// that it is of this TPM and of this boot.
type BeatKey struct {
	Public    []byte // TPMT_PUBLIC
	Attest    []byte // TPMS_ATTEST of type certify
	Signature []byte // TPMT_SIGNATURE by the AK
}

// Encode is the plain text of an M3's offers for the operation beat.
func (k BeatKey) Encode() []byte {
	var w Writer
	w.Field(k.Public)
	w.Field(k.Attest)
	w.Field(k.Signature)
	return w.Bytes()
}

// ParseBeatKey decodes it.
func ParseBeatKey(b []byte) (k BeatKey, err error) {
	r := NewReader(b)
	k.Public = bytes.Clone(r.Field("public area", maxPublic))
	k.Attest = bytes.Clone(r.Field("certificate", maxPublic))
	k.Signature = bytes.Clone(r.Field("certificate's signature", maxPublic))
	return k, r.End()
}

// CertifyData is what the AK's certificate must carry: it ties the key to
// this one challenge.
func CertifyData(th2 [32]byte) [32]byte { return hash([]byte("lk1/beat-key"), th2[:]) }

// BeatDigest is what a beat's signature covers.
func BeatDigest(ticket []byte) [32]byte { return hash([]byte("lk1/beat"), ticket) }

// BeatKey is what answers to beats are known by: of the exchange in which the
// machine's key was shown.
func (k *Keys) BeatKey() (secret.Bytes, error) {
	key, err := hkdf.Expand(sha256.New, k.m5.Reveal(), "lk1 beat", BeatKeySize)
	return secret.Own(key), err
}

// A Beat is what a running machine sends, once a minute or so.
type Beat struct {
	Ticket    []byte // of the KMS' last answer, closed to the machine
	Signature [BeatSignature]byte
}

// Encode is the message's bytes.
func (m *Beat) Encode() []byte {
	w := NewWriter(maxBeat)
	w.Byte(Version)
	w.Field(m.Ticket)
	w.Field(m.Signature[:])
	return w.Bytes()
}

// ParseBeat decodes a beat.
func ParseBeat(b []byte) (*Beat, error) {
	r, m := NewReader(b), &Beat{}
	if v := r.Byte("version"); v != Version && r.err == nil {
		r.fail("version %d is not spoken here", v)
	}
	m.Ticket = bytes.Clone(r.Field("ticket", MaxTicket))
	m.Signature = [BeatSignature]byte(r.Exact("signature", BeatSignature))
	return m, r.End()
}

// A BeatAnswer is the next ticket, and what shows that it is of the KMS that
// the machine registered with.
type BeatAnswer struct {
	Ticket []byte
	MAC    [beatMAC]byte
}

// NewBeatAnswer answers a beat, as it was received.
func NewBeatAnswer(key secret.Bytes, beat, ticket []byte) *BeatAnswer {
	return &BeatAnswer{ticket, macOfAnswer(key, beat, ticket)}
}

func macOfAnswer(key secret.Bytes, beat, ticket []byte) [beatMAC]byte {
	h := hmac.New(sha256.New, key.Reveal())
	h.Write([]byte("lk1/beat-answer"))
	var w Writer
	w.Field(beat)
	w.Field(ticket)
	h.Write(w.Bytes())
	return [beatMAC]byte(h.Sum(nil)[:beatMAC])
}

// Encode is the message's bytes.
func (m *BeatAnswer) Encode() []byte {
	w := NewWriter(maxBeatResponse)
	w.Field(m.Ticket)
	w.Field(m.MAC[:])
	return w.Bytes()
}

func parseBeatAnswer(b []byte) (*BeatAnswer, error) {
	r, m := NewReader(b), &BeatAnswer{}
	m.Ticket = bytes.Clone(r.Field("ticket", MaxTicket))
	m.MAC = [beatMAC]byte(r.Exact("MAC", beatMAC))
	return m, r.End()
}

// Beats are the beats of a machine that has registered: its next ticket.
// Wipe them.
type Beats struct {
	ticket []byte
	key    secret.Bytes
}

// Wipe forgets the key.
func (b *Beats) Wipe() { b.key.Wipe() }

// Register shows the KMS at url the key of this boot, in a whole exchange that
// ends with a KMS of another key than a pinned one. The volumes are those of
// the plan; no key is given out. A KMS that knows no beats does not take the
// proof: CodeNoGrant.
func (c *Client) Register(ctx context.Context, url string, b Beater, wants []Want) (*Beats, error) {
	var key secret.Bytes
	g, err := c.exchange(ctx, url, b, PresenceBeat, wants, func(ctx context.Context, k *Keys) (secret.Bytes, error) {
		extra := CertifyData(k.th2)
		shown, err := b.BeatKey(ctx, extra[:])
		if err != nil {
			return secret.Bytes{}, err
		}
		key.Wipe()
		if key, err = k.BeatKey(); err != nil {
			return secret.Bytes{}, err
		}
		return secret.Own(shown.Encode()), nil
	})
	if err != nil {
		key.Wipe()
		return nil, err
	}
	g.Wipe()
	return &Beats{bytes.Clone(g.cookie), key}, nil
}

// Beat says that the machine is there, and keeps the ticket for the next time.
// CodeNoGrant: the KMS takes this ticket no more; register again.
// CodeWrongPin: the answer is not that of the KMS that it registered with.
func (c *Client) Beat(ctx context.Context, url string, b Beater, s *Beats) error {
	to, err := ParseURL(url)
	if err != nil {
		return err
	}
	m := Beat{Ticket: s.ticket}
	if m.Signature, err = b.SignBeat(ctx, BeatDigest(s.ticket)); err != nil {
		return err
	}
	said := m.Encode()
	session := &session{dial: c.Dial, to: to}
	defer session.close()
	reply, err := session.post(ctx, BeatPath, said)
	if err != nil {
		return err
	}
	answer, err := parseBeatAnswer(reply)
	what := "checking the answer of " + to.String()
	if err != nil {
		return &Error{What: what, code: CodeBadAnswer, Err: err}
	}
	if want := macOfAnswer(s.key, said, answer.Ticket); !hmac.Equal(want[:], answer.MAC[:]) {
		return &Error{What: what, code: CodeWrongPin, Err: errors.New("it is not of the KMS that this machine registered with")}
	}
	s.ticket = answer.Ticket
	return nil
}
