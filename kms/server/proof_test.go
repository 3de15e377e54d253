package server_test

import (
	"bytes"
	"context"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/softtpm"
)

// forger is a prover that changes what the TPM would say.
type forger struct {
	*softtpm.TPM
	ak    []byte
	quote func(pcrs []int, extra []byte) (kms.Quote, error)
	// opened replaces what Activate gives.
	opened func(secret.Bytes) secret.Bytes
}

func (f forger) AKPublic() []byte {
	if f.ak != nil {
		return f.ak
	}
	return f.TPM.AKPublic()
}

func (f forger) Quote(c context.Context, pcrs []int, extra []byte) (kms.Quote, error) {
	if f.quote != nil {
		return f.quote(pcrs, extra)
	}
	return f.TPM.Quote(c, pcrs, extra)
}

func (f forger) Activate(c context.Context, blob, seed []byte) (secret.Bytes, error) {
	s, err := f.TPM.Activate(c, blob, seed)
	if f.opened != nil && err == nil {
		s = f.opened(s)
	}
	return s, err
}

// A forgery is a quote that is not exactly what was asked.
type forgery struct {
	name  string
	quote func([]int, []byte) (kms.Quote, error)
}

func forgeries(node, stranger *softtpm.TPM) []forgery {
	statement := func(change func(*softtpm.Attest, *[]kms.PCR)) func([]int, []byte) (kms.Quote, error) {
		return func(pcrs []int, extra []byte) (kms.Quote, error) {
			a, values := node.Statement(pcrs, extra)
			change(&a, &values)
			return node.Sign(a.Encode(), values)
		}
	}
	var replayed kms.Quote
	return []forgery{
		{"made up: no TPM's magic", statement(func(a *softtpm.Attest, _ *[]kms.PCR) { a.Magic = 0xff544348 })},
		{"a certification, not a quote", statement(func(a *softtpm.Attest, _ *[]kms.PCR) { a.Type = 0x8017 })},
		{"answers another challenge", statement(func(a *softtpm.Attest, _ *[]kms.PCR) { a.Extra = make([]byte, 32) })},
		{"no challenge", statement(func(a *softtpm.Attest, _ *[]kms.PCR) { a.Extra = nil })},
		{"fewer PCRs", statement(func(a *softtpm.Attest, v *[]kms.PCR) {
			a.Selections[0] = softtpm.Select(7, 11, 12)
			*v, a.Digest = node.Values(7, 11, 12)
		})},
		{"more PCRs", statement(func(a *softtpm.Attest, v *[]kms.PCR) {
			a.Selections[0] = softtpm.Select(7, 11, 12, 14, 15)
			*v, a.Digest = node.Values(7, 11, 12, 14, 15)
		})},
		{"other PCRs", statement(func(a *softtpm.Attest, v *[]kms.PCR) {
			a.Selections[0] = softtpm.Select(7, 11, 12, 16)
			*v, a.Digest = node.Values(7, 11, 12, 16)
		})},
		{"SHA-1 bank", statement(func(a *softtpm.Attest, _ *[]kms.PCR) { a.Selections[0].Bank = 4 })},
		{"two banks", statement(func(a *softtpm.Attest, _ *[]kms.PCR) {
			a.Selections = append(a.Selections, softtpm.Selection{Bank: 4, Bits: []byte{0, 0, 0}})
		})},
		{"no bank", statement(func(a *softtpm.Attest, _ *[]kms.PCR) { a.Selections = nil })},
		{"longer selection", statement(func(a *softtpm.Attest, _ *[]kms.PCR) {
			a.Selections[0].Bits = append(a.Selections[0].Bits, 0)
		})},
		{"values are not the quoted ones", statement(func(_ *softtpm.Attest, v *[]kms.PCR) { (*v)[3].Value[0] ^= 1 })},
		{"values in other order", statement(func(_ *softtpm.Attest, v *[]kms.PCR) { (*v)[0], (*v)[1] = (*v)[1], (*v)[0] })},
		{"values under other indexes", statement(func(_ *softtpm.Attest, v *[]kms.PCR) { (*v)[0].Index = 8 })},
		{"a value is missing", statement(func(_ *softtpm.Attest, v *[]kms.PCR) { *v = (*v)[:3] })},
		{"a value twice", statement(func(_ *softtpm.Attest, v *[]kms.PCR) { *v = append(*v, (*v)[3]) })},
		{"digest is cut short", statement(func(a *softtpm.Attest, _ *[]kms.PCR) { a.Digest = a.Digest[:16] })},
		{"trailing bytes", func(pcrs []int, extra []byte) (kms.Quote, error) {
			a, values := node.Statement(pcrs, extra)
			return node.Sign(append(a.Encode(), 0), values)
		}},
		{"signed by another key", func(pcrs []int, extra []byte) (kms.Quote, error) {
			a, values := node.Statement(pcrs, extra)
			return stranger.Sign(a.Encode(), values)
		}},
		{"signature of another scheme", func(pcrs []int, extra []byte) (kms.Quote, error) {
			a, values := node.Statement(pcrs, extra)
			q, err := node.Sign(a.Encode(), values)
			q.Signature[1] = 0x14 // RSASSA
			return q, err
		}},
		{"signature with another hash", func(pcrs []int, extra []byte) (kms.Quote, error) {
			a, values := node.Statement(pcrs, extra)
			q, err := node.Sign(a.Encode(), values)
			q.Signature[3] = 0x04
			return q, err
		}},
		{"signature with trailing bytes", func(pcrs []int, extra []byte) (kms.Quote, error) {
			a, values := node.Statement(pcrs, extra)
			q, err := node.Sign(a.Encode(), values)
			q.Signature = append(q.Signature, 0)
			return q, err
		}},
		{"empty", func([]int, []byte) (kms.Quote, error) { return kms.Quote{}, nil }},
		{"replayed", func(pcrs []int, extra []byte) (kms.Quote, error) {
			if replayed.Attest == nil {
				q, err := node.Quote(ctx, pcrs, extra)
				replayed = q
				return q, err
			}
			return replayed, nil
		}},
	}
}

// C5, C6: a quote that is not exactly what was asked is no proof, even if
// the approved node's own AK signed it.
func TestForgedQuotesAreRefused(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	f.mustGet(node)
	for _, row := range forgeries(node, newTPM(t)) {
		t.Run(row.name, func(t *testing.T) {
			cheat := forger{TPM: node, quote: row.quote}
			if row.name == "replayed" {
				f.mustGet(cheat) // records it
			}
			if _, err := f.get(cheat); code(err) != kms.CodeNoGrant {
				t.Errorf("Get = %v, want code %s", err, kms.CodeNoGrant)
			}
		})
	}

	f.mustGet(node) // none of it did harm
}

// C4: the AK must be one that signs only what a TPM made.
func TestWeakAttestationKeysAreRefused(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	good := node.AKPublic()
	at := func(offset int, b ...byte) []byte {
		area := bytes.Clone(good)
		copy(area[offset:], b)
		return area
	}
	attributes := func(clear, set uint32) []byte {
		v := uint32(0x00050472)&^clear | set
		return at(4, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	for _, row := range []struct {
		name string
		ak   []byte
	}{
		{"not restricted", attributes(1<<16, 0)},
		{"a decryption key", attributes(0, 1<<17)},
		{"does not sign", attributes(1<<18, 0)},
		{"may leave the TPM", attributes(1<<1, 0)},
		{"may be duplicated", attributes(1<<4, 0)},
		{"made outside the TPM", attributes(1<<5, 0)},
		{"RSA", at(0, 0x00, 0x01)},
		{"named with SHA-1", at(2, 0x00, 0x04)},
		{"any signing scheme", at(12, 0x00, 0x10)},
		{"signs SHA-1", at(14, 0x00, 0x04)},
		{"other curve", at(16, 0x00, 0x04)},
		{"point off the curve", at(22, 0xff, 0xff)},
		{"cut short", good[:len(good)-1]},
		{"trailing byte", append(bytes.Clone(good), 0)},
		{"empty", []byte{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := f.get(forger{TPM: node, ak: row.ak}); code(err) != kms.CodeNoGrant {
				t.Errorf("Get = %v, want code %s", err, kms.CodeNoGrant)
			}
		})
	}

	// Another AK of the same kind is refused by the credential's name.
	other := newTPM(t)
	if _, err := f.get(forger{TPM: node, ak: other.AKPublic()}); err == nil {
		t.Error("a credential for another AK was opened")
	}
	f.mustGet(node)
}

// C3, C8: without the EK's private key nothing is gained by its public one.
func TestChallengeMustBeOpened(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	guess := forger{TPM: node, opened: func(secret.Bytes) secret.Bytes { return secret.Random(32) }}
	if _, err := f.get(guess); code(err) != kms.CodeNoGrant {
		t.Errorf("Get with a guessed secret = %v, want code %s", err, kms.CodeNoGrant)
	}
	if n := f.events("get"); n != 0 {
		t.Errorf("%d grants were recorded for who did not open the challenge", n)
	}
}

// quoteOf signs what change makes of the honest statement.
func quoteOf(node *softtpm.TPM, change func(honest, extra []byte) []byte) func([]int, []byte) (kms.Quote, error) {
	return func(pcrs []int, extra []byte) (kms.Quote, error) {
		a, values := node.Statement(pcrs, extra)
		return node.Sign(change(a.Encode(), extra), values)
	}
}
