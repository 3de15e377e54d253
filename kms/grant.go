package kms

import (
	"bytes"
	"fmt"

	"latchkey/internal/secret"
)

// Material is a secret of a volume as the KMS keeps it.
type Material struct {
	Kind   Kind // zero: there is none
	Secret secret.Bytes
}

// Granted is the KMS' answer for one volume.
type Granted struct {
	UUID   UUID
	Status Status
	Active Material
	Staged Material // the next one, while a rotation is under way
	Digest []byte   // expected header subset digest; empty if the KMS has none
	MAC    []byte   // expected volume-key MAC; empty if the KMS has none
}

// Decision is the plain text of M4.
type Decision struct {
	Status  Status
	Volumes []Granted
	Cookie  []byte // for the report
	Ask     *Ask   // not nil: the KMS wants to see the event log
	Words   string // for people at the node, of a boot that is not the approved one
}

// Sizes of M4's plain text, so that every answer to n volumes has the same
// length: what a volume takes at most, and the rest.
const (
	grantedSize  = 2 + 16 + 3 + 3 + 2 + MaxSecret + 3 + 2 + MaxSecret + 34 + 34
	decisionRest = 3 + 2 + 2 + 2
)

func decisionSize(volumes, cookie int) int { return decisionRest + volumes*grantedSize + cookie }

// MaxReportCookie bounds the report cookie, in bytes.
const MaxReportCookie = 2048

// encode pads to the size for n volumes, whatever there is to say.
func (d *Decision) encode(n int) (secret.Bytes, error) {
	list, w := NewWriter(n*grantedSize), NewWriter(decisionSize(n, MaxReportCookie))
	for _, g := range d.Volumes {
		list.Field(g.UUID[:])
		list.Byte(byte(g.Status))
		list.Byte(byte(g.Active.Kind))
		list.Field(g.Active.Secret.Reveal())
		list.Byte(byte(g.Staged.Kind))
		list.Field(g.Staged.Secret.Reveal())
		list.Field(g.Digest)
		list.Field(g.MAC)
	}

	w.Byte(byte(d.Status))
	w.Field(list.Bytes())
	clear(list.b)
	w.Field(d.Cookie)
	pad := decisionSize(n, MaxReportCookie) - len(w.b) - 2
	if pad < 0 {
		clear(w.b)
		return secret.Bytes{}, fmt.Errorf("answer for %d volumes is %d bytes too long", n, -pad)
	}

	w.Field(d.encodePadding(pad))
	return secret.Own(w.Bytes()), nil
}

func parseDecision(b secret.Bytes) (*Decision, error) {
	r, d := NewReader(b.Reveal()), &Decision{}
	d.Status = Status(r.Byte("status"))
	r.List("volumes", MaxVolumes, func(r *Reader) {
		g := Granted{UUID: UUID(r.Exact("UUID", 16)), Status: Status(r.Byte("status"))}
		g.Active = readMaterial(r)
		g.Staged = readMaterial(r)
		if g.Active.Kind == Due || g.Staged.Kind == Pushed {
			r.fail("kinds %d and %d of an active and a staged secret", g.Active.Kind, g.Staged.Kind)
		}
		g.Digest = bytes.Clone(r.Maybe32("header digest"))
		g.MAC = bytes.Clone(r.Maybe32("volume-key MAC"))
		if !g.Status.valid() {
			r.fail("status %d of a volume", g.Status)
		}
		d.Volumes = append(d.Volumes, g)
	})

	d.Cookie = bytes.Clone(r.Field("report cookie", MaxReportCookie))
	padding := r.Field("padding", MaxMessage)
	if err := r.End(); err != nil {
		return nil, err
	}

	if !d.Status.valid() {
		return nil, fmt.Errorf("%w: status %d", errMessage, d.Status)
	}
	d.parsePadding(padding)
	return d, nil
}

func readMaterial(r *Reader) Material {
	m := Material{Kind: Kind(r.Byte("kind"))}
	m.Secret = secret.Own(bytes.Clone(r.Field("secret", MaxSecret)))
	if m.Kind > Pushed || (m.Kind == 0 || m.Kind == Due) != (m.Secret.Len() == 0) {
		r.fail("kind %d with a secret of %d bytes", m.Kind, m.Secret.Len())
	}
	return m
}

// Answer is M4, KMS to node.
type Answer struct {
	Fresh  [32]byte // mixed into k_m4
	Sealed []byte
}

// AnswerSize is the length of an M4 for n volumes, be it grant or refusal.
func AnswerSize(n int) int { return 2 + 32 + 2 + decisionSize(n, MaxReportCookie) + gcmOverhead }

// Encode is the message's bytes.
func (m *Answer) Encode() []byte {
	var w Writer
	w.Field(m.Fresh[:])
	w.Field(m.Sealed)
	return w.Bytes()
}

// ParseAnswer decodes M4, still sealed.
func ParseAnswer(b []byte) (*Answer, error) {
	r, m := NewReader(b), &Answer{}
	m.Fresh = [32]byte(r.Exact("fresh bytes", 32))
	m.Sealed = bytes.Clone(r.Field("sealed answer", MaxMessage))
	return m, r.End()
}
