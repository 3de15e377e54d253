package kms

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"

	"latchkey/internal/secret"
)

// RecoveryPath is where a node's running system speaks of its volumes'
// recovery keys, after an exchange for Recovery.
const RecoveryPath = "/lk1/recovery"

// Bounds of M7 and M8.
const (
	MaxSealedKey  = 24 << 10 // a sealed recovery key, in bytes: of eight post-quantum recipients, say
	MaxRecipients = 8        // whom recovery keys are sealed to
	MaxRecipient  = 4096     // of the text of one, in bytes
	maxEscrows    = 8        // keyslots of one volume with sealed recovery keys
	maxRecovery   = 60 << 10 // M7 and M8, sealed
)

// An Escrow is one keyslot whose recovery key is sealed for people, as the
// volume's machine sees it.
type Escrow struct {
	Key      [32]byte // SHA-256 of the sealed key; the keyslot's token has it
	Evidence [32]byte // luks2.Header.Evidence of the keyslot: all that decides what opens it
}

// A RecoveryWord is what a node says of one volume in M7.
type RecoveryWord struct {
	UUID    UUID
	Escrows []Escrow // all that the header has
	Sealed  []byte   // a sealed key for the KMS to keep, one of Escrows; empty: none
	To      [32]byte // RecipientsDigest of whom it is sealed to
}

// A RecoveryState is what the KMS answers for one volume in M8.
type RecoveryState struct {
	UUID    UUID
	Status  Status   // NotBound: it is not this node's; Exists: the sealed key was not taken
	Current [32]byte // the sealed key that is given out; zero: the KMS has none
	Next    [32]byte // one that takes its place once it is proven; zero: none
	Proven  bool     // Current's keyslot was seen unchanged in a later boot than it was made in
	Renew   bool     // Current was given out, or its keyslot is gone: another is wanted
}

// A RecoveryReply is M8, KMS to node: the plain text.
type RecoveryReply struct {
	Recipients []string // whom the owner wants recovery keys sealed to; none: they are not kept
	Volumes    []RecoveryState
}

// RecipientsDigest tells one list of recipients from another.
func RecipientsDigest(recipients []string) [32]byte {
	var w Writer
	for _, r := range recipients {
		w.Field([]byte(r))
	}
	return hash([]byte("lk1/recipients"), w.Bytes())
}

// SealedRecovery is M7 or M8 as it travels.
type SealedRecovery struct {
	Fresh  [32]byte // mixed into the key
	Cookie []byte   // M7's, from M4; M8 has none
	Sealed []byte
}

// Encode is the message's bytes.
func (m *SealedRecovery) Encode() []byte {
	var w Writer
	w.Field(m.Fresh[:])
	w.Field(m.Cookie)
	w.Field(m.Sealed)
	return w.Bytes()
}

// ParseRecovery decodes M7 or M8, still sealed.
func ParseRecovery(b []byte) (*SealedRecovery, error) {
	r, m := NewReader(b), &SealedRecovery{}
	m.Fresh = [32]byte(r.Exact("fresh bytes", 32))
	m.Cookie = bytes.Clone(r.Field("recovery cookie", MaxReportCookie))
	m.Sealed = bytes.Clone(r.Field("sealed message", maxRecovery))
	return m, r.End()
}

// Names of the keys that close M7 and M8: k_m5 by other names.
const (
	recoveryAsk   = "lk1 m7 fresh"
	recoveryReply = "lk1 m8 fresh"
)

// SealRecovery makes M7.
func SealRecovery(reportKey secret.Bytes, th3 [32]byte, cookie []byte, words []RecoveryWord) (*SealedRecovery, error) {
	var list, w Writer
	for _, v := range words {
		var escrows Writer
		for _, e := range v.Escrows {
			escrows.Field(e.Key[:])
			escrows.Field(e.Evidence[:])
		}
		list.Field(v.UUID[:])
		list.Field(escrows.Bytes())
		list.Field(v.Sealed)
		list.Field(v.To[:])
	}
	if len(list.b) > maxRecovery-64 {
		return nil, fmt.Errorf("%w: recovery keys of %d bytes", errMessage, len(list.b))
	}
	w.Field(list.Bytes())
	return sealRecovery(reportKey, recoveryAsk, th3, cookie, w.Bytes())
}

func sealRecovery(reportKey secret.Bytes, name string, th3 [32]byte, cookie, plain []byte) (*SealedRecovery, error) {
	m := &SealedRecovery{Cookie: cookie}
	rand.Read(m.Fresh[:])
	key, err := freshen(reportKey, m.Fresh, name)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	m.Sealed, err = seal(key, th3[:], plain)
	return m, err
}

// OpenRecovery opens M7 with what its cookie held.
func OpenRecovery(m *SealedRecovery, reportKey secret.Bytes, th3 [32]byte) (words []RecoveryWord, err error) {
	plain, err := openFresh(reportKey, m.Fresh, recoveryAsk, th3, m.Sealed)
	if err != nil {
		return nil, err
	}
	r := NewReader(plain)
	r.List("volumes", MaxVolumes, func(r *Reader) {
		v := RecoveryWord{UUID: UUID(r.Exact("UUID", 16))}
		r.List("keyslots", maxEscrows, func(r *Reader) {
			v.Escrows = append(v.Escrows, Escrow{[32]byte(r.Exact("digest of a key", 32)), [32]byte(r.Exact("evidence", 32))})
		})
		v.Sealed = bytes.Clone(r.Field("sealed key", MaxSealedKey))
		v.To = [32]byte(r.Exact("recipients", 32))
		words = append(words, v)
	})
	return words, r.End()
}

// SealRecoveryReply makes M8.
func SealRecoveryReply(reportKey secret.Bytes, th3 [32]byte, reply *RecoveryReply) (*SealedRecovery, error) {
	var to, list, w Writer
	for _, text := range reply.Recipients {
		to.Field([]byte(text))
	}
	for _, v := range reply.Volumes {
		list.Field(v.UUID[:])
		list.Byte(byte(v.Status))
		list.Field(v.Current[:])
		list.Field(v.Next[:])
		list.Byte(bit(v.Proven))
		list.Byte(bit(v.Renew))
	}
	w.Field(to.Bytes())
	w.Field(list.Bytes())
	return sealRecovery(reportKey, recoveryReply, th3, nil, w.Bytes())
}

func bit(yes bool) byte {
	if yes {
		return 1
	}
	return 0
}

// OpenRecoveryReply opens M8.
func OpenRecoveryReply(m *SealedRecovery, reportKey secret.Bytes, th3 [32]byte) (*RecoveryReply, error) {
	plain, err := openFresh(reportKey, m.Fresh, recoveryReply, th3, m.Sealed)
	if err != nil {
		return nil, err
	}
	r, reply := NewReader(plain), &RecoveryReply{}
	r.List("recipients", MaxRecipients, func(r *Reader) {
		reply.Recipients = append(reply.Recipients, string(r.Field("recipient", MaxRecipient)))
	})
	r.List("volumes", MaxVolumes, func(r *Reader) {
		v := RecoveryState{UUID: UUID(r.Exact("UUID", 16)), Status: Status(r.Byte("status"))}
		v.Current = [32]byte(r.Exact("current key", 32))
		v.Next = [32]byte(r.Exact("next key", 32))
		v.Proven = r.Byte("proven") == 1
		v.Renew = r.Byte("renew") == 1
		if !v.Status.valid() {
			r.fail("status %d of a volume", v.Status)
		}
		reply.Volumes = append(reply.Volumes, v)
	})
	return reply, r.End()
}

// Recovery tells the KMS of the recovery keys of volumes, and hears what it
// has of them. There is one word for each want, with the same UUID.
func (c *Client) Recovery(ctx context.Context, url string, p Prover, wants []Want, words []RecoveryWord) (*RecoveryReply, error) {
	to, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	g, err := c.exchange(ctx, url, p, Recovery, wants, nil)
	if err != nil {
		return nil, err
	}
	defer g.Wipe()
	m7, err := SealRecovery(g.reportKey, g.th3, g.cookie, words)
	if err != nil {
		return nil, badRequest(err)
	}

	s := &session{dial: c.Dial, to: to}
	defer s.close()
	answer, err := s.post(ctx, RecoveryPath, m7.Encode())
	if err != nil {
		return nil, err
	}
	m8, err := ParseRecovery(answer)
	var reply *RecoveryReply
	if err == nil {
		reply, err = OpenRecoveryReply(m8, g.reportKey, g.th3)
	}
	if err != nil {
		return nil, &Error{What: "asking " + to.String() + " about recovery keys", code: CodeBadAnswer, Err: err}
	}
	return reply, nil
}
