package kms

import (
	"bytes"
	"fmt"
	"slices"
)

// Version is the protocol version of M1.
const Version = 1

// Bounds of TPM structures in messages, in bytes: an RSA-4096 public area
// is near 600, an EK certificate near 2,000.
const (
	maxPublic = 1024
	maxCert   = 4096
	maxBlob   = 1024
)

// A Want is one volume that a node wants to open.
type Want struct {
	UUID   UUID
	Digest [32]byte // of the header subset; zero when the node has no disk to look at
	SeqID  uint64   // of the LUKS2 header
}

// Hello is M1, node to KMS.
type Hello struct {
	Nonce     [32]byte
	Ephemeral [32]byte // X25519
	EKPublic  []byte   // TPMT_PUBLIC
	EKCert    []byte   // DER, or empty
	AKPublic  []byte   // TPMT_PUBLIC
	Operation Operation
	Volumes   []Want
	Pins      []KeyID // KMS keys that the node would accept
}

// Encode is the message's bytes.
func (m *Hello) Encode() []byte {
	var w, pins Writer
	for _, p := range m.Pins {
		pins.Field(p[:])
	}
	w.Byte(Version)
	w.Field(m.Nonce[:])
	w.Field(m.Ephemeral[:])
	w.Field(m.EKPublic)
	w.Field(m.EKCert)
	w.Field(m.AKPublic)
	w.Byte(byte(m.Operation))
	WriteWants(&w, m.Volumes)
	w.Field(pins.Bytes())
	return w.Bytes()
}

// ParseHello decodes M1. Public areas are only bounded here: what they say
// is the server's to judge.
func ParseHello(b []byte) (*Hello, error) {
	r, m := NewReader(b), &Hello{}
	if v := r.Byte("version"); v != Version && r.err == nil {
		r.fail("version %d is not spoken here", v)
	}
	m.Nonce = [32]byte(r.Exact("nonce", 32))
	m.Ephemeral = [32]byte(r.Exact("ephemeral key", 32))
	m.EKPublic = bytes.Clone(r.Field("EK public area", maxPublic))
	m.EKCert = bytes.Clone(r.Field("EK certificate", maxCert))
	m.AKPublic = bytes.Clone(r.Field("AK public area", maxPublic))
	m.Operation = Operation(r.Byte("operation"))
	m.Volumes = ReadWants(r)
	r.List("pins", MaxPins, func(r *Reader) { m.Pins = append(m.Pins, KeyID(r.Exact("key id", len(KeyID{})))) })
	if err := r.End(); err != nil {
		return nil, err
	}

	if m.Operation < Get || m.Operation > PresenceBeat {
		return nil, fmt.Errorf("%w: operation %d", errMessage, m.Operation)
	}
	return m, checkWants(m.Volumes)
}

// WriteWants appends a list of volumes.
func WriteWants(w *Writer, wants []Want) {
	var list Writer
	for _, v := range wants {
		list.Field(v.UUID[:])
		list.Field(v.Digest[:])
		list.Uint64(v.SeqID)
	}
	w.Field(list.Bytes())
}

// ReadWants reads a list of volumes.
func ReadWants(r *Reader) (wants []Want) {
	r.List("volumes", MaxVolumes, func(r *Reader) {
		wants = append(wants, Want{
			UUID:   UUID(r.Exact("UUID", 16)),
			Digest: [32]byte(r.Exact("header digest", 32)),
			SeqID:  r.Uint64("seqid"),
		})
	})
	return wants
}

func checkWants(wants []Want) error {
	if len(wants) == 0 || len(wants) > MaxVolumes {
		return fmt.Errorf("%w: %d volumes, not 1 to %d", errMessage, len(wants), MaxVolumes)
	}
	for i, w := range wants {
		if slices.ContainsFunc(wants[:i], func(o Want) bool { return o.UUID == w.UUID }) {
			return fmt.Errorf("%w: volume %s twice", errMessage, w.UUID)
		}
	}
	return nil
}

// Core is the part of M2 that both sides' keys depend on.
type Core struct {
	Nonce     [32]byte
	Ephemeral [32]byte           // X25519
	MLKEM     [MLKEMKeySize]byte // encapsulation key
	Blob      []byte             // credential: the contents of a TPM2B_ID_OBJECT
	Seed      []byte             // the contents of a TPM2B_ENCRYPTED_SECRET
	Selection []int              // PCRs of the SHA-256 bank, ascending
}

// Encode is the core's bytes.
func (m *Core) Encode() []byte {
	w := NewWriter(MLKEMKeySize + len(m.Blob) + len(m.Seed) + 128)
	selection := make([]byte, len(m.Selection))
	for i, pcr := range m.Selection {
		selection[i] = byte(pcr)
	}
	w.Field(m.Nonce[:])
	w.Field(m.Ephemeral[:])
	w.Field(m.MLKEM[:])
	w.Field(m.Blob)
	w.Field(m.Seed)
	w.Field(selection)
	return w.Bytes()
}

func parseCore(b []byte) (*Core, error) {
	r, m := NewReader(b), &Core{}
	m.Nonce = [32]byte(r.Exact("nonce", 32))
	m.Ephemeral = [32]byte(r.Exact("ephemeral key", 32))
	m.MLKEM = [MLKEMKeySize]byte(r.Exact("ML-KEM key", MLKEMKeySize))
	m.Blob = bytes.Clone(r.Field("credential", maxBlob))
	m.Seed = bytes.Clone(r.Field("seed", maxBlob))
	for _, pcr := range r.Field("PCR selection", 24) {
		m.Selection = append(m.Selection, int(pcr))
	}

	if err := r.End(); err != nil {
		return nil, err
	}
	if len(m.Selection) == 0 {
		return nil, fmt.Errorf("%w: no PCRs selected", errMessage)
	}

	for i, pcr := range m.Selection {
		if pcr > 23 || i > 0 && pcr <= m.Selection[i-1] {
			return nil, fmt.Errorf("%w: PCR selection %v", errMessage, m.Selection)
		}
	}

	return m, nil
}

// Challenge is M2, KMS to node.
type Challenge struct {
	Core      []byte // encoded
	Cookie    []byte // what the KMS must remember, closed to the node
	Signature []byte // Ed25519 over Signed
}

// MaxCookie bounds the KMS' cookies, in bytes.
const MaxCookie = 8192

// Encode is the message's bytes.
func (m *Challenge) Encode() []byte {
	w := NewWriter(len(m.Core) + len(m.Cookie) + len(m.Signature) + 6)
	w.Field(m.Core)
	w.Field(m.Cookie)
	w.Field(m.Signature)
	return w.Bytes()
}

// ParseChallenge decodes M2, not its core.
func ParseChallenge(b []byte) (*Challenge, error) {
	r, m := NewReader(b), &Challenge{}
	m.Core = bytes.Clone(r.Field("core", 4096))
	m.Cookie = bytes.Clone(r.Field("cookie", MaxCookie))
	m.Signature = bytes.Clone(r.Exact("signature", 64))
	return m, r.End()
}

// Signed is what the KMS' signature covers: M1 and the core by th2, and the
// cookie.
func (m *Challenge) Signed(th2 [32]byte) []byte {
	w := NewWriter(len(signed) + len(th2) + 2 + len(m.Cookie))
	w.b = append(append(w.b, signed...), th2[:]...)
	w.Field(m.Cookie)
	return w.Bytes()
}

const signed = "lk1/challenge"
