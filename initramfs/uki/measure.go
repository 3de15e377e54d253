package uki

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"latchkey/internal/pcr"
)

// InInitrd is the state of PCR 11 in which a machine asks for its keys: the
// init has measured this word, and nothing after it (systemd-pcrphase(8)).
const InInitrd = pcr.EnterInitrd

// PCR11 is what PCR 11 of the SHA-256 bank holds after the stub measured
// the sections and the init the words of the phases: for each section its
// name with the NUL, then its data (systemd-stub(7), "TPM PCR notes").
func (s *Stub) PCR11(sections []Section, phases ...string) [32]byte {
	var value [32]byte
	extend := func(data []byte) { value = pcr.Extend(value, data) }

	for _, name := range measured {
		i := slices.IndexFunc(sections, func(sec Section) bool { return sec.Name == name })
		if !s.Measures(name) {
			continue
		}
		data := s.own(name)
		if i >= 0 {
			data = sections[i].Data
		}
		if data == nil {
			continue
		}
		extend(append([]byte(name), 0))
		extend(data)
	}

	for _, p := range phases {
		extend([]byte(p))
	}
	return value
}

// own is a section that the stub brings itself (.sbat), or nil.
func (s *Stub) own(name string) []byte {
	for _, sec := range s.file.sections {
		if sec.name == name {
			return sec.data()
		}
	}
	return nil
}

// A Signer signs policies for values of PCR 11: an RSA key, which is what
// a TPM and systemd can verify.
type Signer struct {
	key crypto.Signer
	pub *rsa.PublicKey
}

// ReadSigner reads an RSA private key of at least 2048 bits, PEM, PKCS#1 or
// PKCS#8.
func ReadSigner(text []byte) (*Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("reading the key that signs PCR 11: not PEM")
	}

	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		err = fmt.Errorf("PEM of type %q, want a private key without a passphrase", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key that signs PCR 11: %w", err)
	}

	k, ok := key.(*rsa.PrivateKey)
	if !ok || k.N.BitLen() < 2048 {
		return nil, errors.New("reading the key that signs PCR 11: want RSA of 2048 bits or more: TPMs verify nothing else for systemd")
	}
	return &Signer{k, &k.PublicKey}, nil
}

// PublicKey is the section .pcrpkey: PEM, PKIX.
func (s *Signer) PublicKey() []byte {
	der, err := x509.MarshalPKIXPublicKey(s.pub)
	if err != nil {
		panic(err) // an RSA key always has an encoding
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// signature is one entry of tpm2-pcr-signature.json.
type signature struct {
	PCRs        []int  `json:"pcrs"`
	Fingerprint string `json:"pkfp"` // hex SHA-256 of the key, PKCS#1
	Policy      string `json:"pol"`  // hex
	Signature   string `json:"sig"`  // base64
}

// Sign makes the section .pcrsig for values of PCR 11: systemd's JSON
// (systemd-measure(1), "sign").
func (s *Signer) Sign(values ...[32]byte) ([]byte, error) {
	fingerprint := sha256.Sum256(x509.MarshalPKCS1PublicKey(s.pub))
	var out []signature
	for _, v := range values {
		policy := pcr.Policy11(v)
		sum := sha256.Sum256(policy[:])
		sig, err := s.key.Sign(nil, sum[:], crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("signing PCR 11: %w", err)
		}
		out = append(out, signature{[]int{11}, hex.EncodeToString(fingerprint[:]), hex.EncodeToString(policy[:]), base64.StdEncoding.EncodeToString(sig)})
	}
	return json.Marshal(map[string][]signature{"sha256": out})
}
