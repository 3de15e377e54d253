package cryptenroll

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"latchkey/internal/strictjson"
)

// rsaDefault is the exponent that 0 stands for in a TPM: Part 2, section
// 12.2.3.5.
const rsaDefault = 65537

// A Key is the RSA key that signs PCRs.
type Key struct {
	Modulus     []byte
	Exponent    uint32
	fingerprint string // hex SHA-256 of its RSAPublicKey, "pkfp" in signatures
}

// ParseKey reads a SubjectPublicKeyInfo (RFC 5280, section 4.1) in PEM,
// without crypto/x509, which the init has no room for.
func ParseKey(text []byte) (s Key, err error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return s, errors.New("it is no PUBLIC KEY in PEM")
	}
	in := cryptobyte.String(block.Bytes)
	var spki, algorithm, key cryptobyte.String
	var bits, modulus []byte
	var exponent uint64
	rsa := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01} // rsaEncryption, RFC 8017, appendix C
	var oid cryptobyte.String
	if !in.ReadASN1(&spki, asn1.SEQUENCE) || !in.Empty() || !spki.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) ||
		!spki.ReadASN1BitStringAsBytes(&bits) {
		return s, errors.New("it is no SubjectPublicKeyInfo")
	}
	if string(oid) != string(rsa) {
		return s, errors.New("it is no RSA key")
	}
	pkcs1 := cryptobyte.String(bits)
	if !pkcs1.ReadASN1(&key, asn1.SEQUENCE) || !key.ReadASN1Integer(&modulus) || !key.ReadASN1Integer(&exponent) || !key.Empty() ||
		len(modulus) == 0 || exponent == 0 || exponent > 1<<32-1 {
		return s, errors.New("it is no RSAPublicKey")
	}
	sum := sha256.Sum256(bits)
	return Key{modulus, uint32(exponent), hex.EncodeToString(sum[:])}, nil
}

// maxSignatures bounds tpm2-pcr-signature.json, in bytes: one signature has
// about 600, and an image has one for each phase and profile.
const maxSignatures = 256 << 10

// A signature is one entry of tpm2-pcr-signature.json (systemd-measure(1)).
type signature struct {
	PCRs        []int  `json:"pcrs"`
	Fingerprint string `json:"pkfp"`
	Policy      string `json:"pol"` // hex
	Signature   string `json:"sig"` // base64
}

// Find finds what the key signed for a policy. What is found is judged by
// the TPM.
func (s Key) Find(file []byte, bank string, pcrs []int, policy [32]byte) ([]byte, error) {
	if len(file) > maxSignatures {
		return nil, fmt.Errorf("the file of signatures has %d bytes, the limit is %d", len(file), maxSignatures)
	}
	var banks map[string]json.RawMessage
	var all []signature
	if err := strictjson.DecodeKnown(file, &banks); err != nil {
		return nil, fmt.Errorf("the file of signatures: %w", err)
	}
	if raw := banks[bank]; raw != nil {
		if err := json.Unmarshal(raw, &all); err != nil {
			return nil, fmt.Errorf("the file of signatures: bank %s: %w", bank, err)
		}
	}
	for _, sig := range all {
		if sig.Fingerprint == s.fingerprint && sig.Policy == hex.EncodeToString(policy[:]) && slices.Equal(slices.Sorted(slices.Values(sig.PCRs)), slices.Sorted(slices.Values(pcrs))) {
			if raw, err := base64.StdEncoding.DecodeString(sig.Signature); err == nil && len(raw) > 0 {
				return raw, nil
			}
		}
	}
	return nil, fmt.Errorf("none of %d signatures of the bank %s is by its key for these values", len(all), bank)
}
