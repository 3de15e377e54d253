package cryptenroll

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"latchkey/internal/secret"
	"latchkey/unlock/tpm"
)

// A Binder seals secrets: tpm.TPM.
type Binder interface {
	Bind(ctx context.Context, s secret.Bytes, policy []tpm.Policy) ([]tpm.Sealed, error)
	Reader
}

// A Reader tells what PCRs of the SHA-256 bank are now: tpm.TPM.
type Reader interface {
	ReadPCR(ctx context.Context, pcr int) ([32]byte, error)
}

// A Request is what a new token is to ask for.
type Request struct {
	PCRs   []int  // whose values must stay as they are now
	Signed []int  // whose values must be signed by the key
	Key    []byte // PEM, of an RSA key

	// Values are those of PCRs that are to come, where they are not those of
	// now: another boot opens the volume then.
	Values map[int][32]byte
	// Replaces is the keyslot whose place this one takes, if it is to go
	// after such a boot.
	Replaces *Replaced
}

// A Replaced is a keyslot that another one replaces.
type Replaced struct {
	Slot int    `json:"keyslot"`
	Was  string `json:"salt"` // its fingerprint: the number may be another keyslot's by now
	Boot string `json:"boot"` // names the boot in which this was announced
}

// Bind seals a new random secret. What it returns is the passphrase for the
// keyslot, 256 random bits, and the token that goes with it; systemd opens
// both as its own.
func Bind(ctx context.Context, chip Binder, r Request) (passphrase secret.Bytes, tokenFor func(slot int) json.RawMessage, err error) {
	t := token{PCRs: r.PCRs, Signed: r.Signed, values: r.Values}
	if len(r.Signed) > 0 {
		if t.signer, err = ParseKey(r.Key); err != nil {
			return secret.Bytes{}, nil, fmt.Errorf("the key that signs PCRs: %w", err)
		}
		if t.signer.Exponent == rsaDefault {
			t.signer.Exponent = 0 // as systemd 257 has it
		}
	}
	sealed := pcrValues{}
	for _, n := range r.PCRs {
		value, ok := r.Values[n]
		if !ok {
			if value, err = chip.ReadPCR(ctx, n); err != nil {
				return secret.Bytes{}, nil, err
			}
		}
		sealed[n] = hex.EncodeToString(value[:])
	}
	raw := secret.Random(32)
	defer raw.Wipe()
	o, err := chip.Bind(ctx, raw, t.policy(crypto.SHA256))
	if err != nil {
		return secret.Bytes{}, nil, err
	}
	return encoded(raw), func(slot int) json.RawMessage { return r.token(o, sealed, slot) }, nil
}

// encoded is what the keyslot of a token has: base64 of the secret.
func encoded(raw secret.Bytes) secret.Bytes {
	key := make([]byte, base64.StdEncoding.EncodedLen(raw.Len()))
	base64.StdEncoding.Encode(key, raw.Reveal())
	return secret.Own(key)
}

// token writes a token as systemd 257 does, or as 252 if there is no storage
// key in NV.
func (r Request) token(bound []tpm.Sealed, sealed pcrValues, slot int) json.RawMessage {
	o := bound[0]
	primary := "ecc"
	if binary.BigEndian.Uint16(o.Parent.Public) == 0x0001 { // TPM_ALG_RSA
		primary = "rsa"
	}
	fields := map[string]any{
		"type": TokenType, "keyslots": []string{fmt.Sprint(slot)}, "tpm2-blob": blobOf(o), "tpm2-pcrs": append([]int{}, r.PCRs...),
		"tpm2-pcr-bank": "sha256", "tpm2-primary-alg": primary, "tpm2-policy-hash": hex.EncodeToString(policyIn(o.Public)), "tpm2-pin": false,
	}
	if len(sealed) > 0 {
		fields["latchkey_pcrs"] = sealed
	}
	if len(bound) > 1 {
		fields["latchkey_sealed"] = map[string][]byte{"blob": blobOf(bound[1]), "parent": bound[1].Parent.Name}
	}
	if r.Replaces != nil {
		fields["latchkey_replaces"] = r.Replaces
	}
	if len(r.Signed) > 0 {
		fields["tpm2_pubkey_pcrs"], fields["tpm2_pubkey"] = r.Signed, r.Key
	}
	if o.Parent.Handle != 0 {
		fields["tpm2_srk"] = serialized(o.Parent)
	}
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err) // numbers, text and bytes
	}
	return text
}

// blobOf is TPM2B_PRIVATE and TPM2B_PUBLIC of a sealed object.
func blobOf(o tpm.Sealed) (blob []byte) {
	for _, part := range [][]byte{o.Private, o.Public} {
		blob = append(binary.BigEndian.AppendUint16(blob, uint16(len(part))), part...)
	}
	return blob
}

// policyIn is the policy of a sealed object with a policy of SHA-256: behind
// type, hash and attributes (TPM 2.0 Library, Part 2, section 12.2.4).
func policyIn(public []byte) []byte { return public[10 : 10+sha256.Size] }

// serialized is a storage key in NV as Esys_TR_Serialize of tpm2-tss writes
// it: handle, name, IESYSC_KEY_RSRC, public area (src/tss2-esys/esys_mu.c).
func serialized(p tpm.Parent) []byte {
	b := binary.BigEndian.AppendUint32(nil, p.Handle)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(p.Name))), p.Name...)
	b = binary.BigEndian.AppendUint32(b, 1)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(p.Public))), p.Public...)
}
