package policy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
)

// maxSignatures bounds the signatures of one file: an image has a few for
// each bank.
const maxSignatures = 1024

// ReadSigned reads systemd's signatures of PCR policies
// (tpm2-pcr-signature.json, section .pcrsig of a UKI) and returns the policy
// digests over PCR 11 of the SHA-256 bank that the key signed. A signature
// that does not hold is an error: the file is not what it should be.
func ReadSigned(signatures, publicKey []byte) (map[Digest]bool, error) {
	key, err := readPublicKey(publicKey)
	if err != nil {
		return nil, err
	}

	var banks map[string][]struct {
		PCRs        []int  `json:"pcrs"`
		Fingerprint string `json:"pkfp"`
		Policy      string `json:"pol"`
		Signature   string `json:"sig"`
	}

	if err := json.Unmarshal(signatures, &banks); err != nil {
		return nil, fmt.Errorf("reading PCR signatures: %w", err)
	}
	entries := banks["sha256"]
	if len(entries) > maxSignatures {
		return nil, fmt.Errorf("reading PCR signatures: %d, more than %d", len(entries), maxSignatures)
	}

	signed := map[Digest]bool{}
	for i, e := range entries {
		if len(e.PCRs) != 1 || e.PCRs[0] != 11 || e.Fingerprint != "" && e.Fingerprint != fingerprint(key) {
			continue // of other PCRs, or by another key
		}
		var d Digest
		if err := d.UnmarshalText([]byte(e.Policy)); err != nil {
			return nil, fmt.Errorf("reading PCR signature %d: policy digest: %w", i+1, err)
		}

		signature, err := base64.StdEncoding.DecodeString(e.Signature)
		if err != nil || !verify(key, d, signature) {
			return nil, fmt.Errorf("reading PCR signature %d: it was not made by the public key given", i+1)
		}

		signed[d] = true
	}

	if len(signed) == 0 {
		return nil, errors.New("reading PCR signatures: none is over PCR 11 of the SHA-256 bank alone and by the public key given")
	}
	return signed, nil
}

func readPublicKey(text []byte) (crypto.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("reading the public key of PCR signatures: no PEM of type PUBLIC KEY")
	}

	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the public key of PCR signatures: %w", err)
	}

	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() >= 2048 {
			return key, nil
		}
	case *ecdsa.PublicKey:
		return key, nil
	}

	return nil, errors.New("reading the public key of PCR signatures: neither RSA of 2048 bits or more nor ECDSA")
}

// fingerprint is systemd's: SHA-256 of the key alone, PKCS#1 for RSA and the
// point for ECDSA (pubkey_fingerprint in src/shared/openssl-util.c).
func fingerprint(key crypto.PublicKey) string {
	var raw []byte
	switch k := key.(type) {
	case *rsa.PublicKey:
		raw = x509.MarshalPKCS1PublicKey(k)
	case *ecdsa.PublicKey:
		raw, _ = k.Bytes() // a key that was just read is on its curve
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// verify: the signature is over the digest's bytes, with SHA-256.
func verify(key crypto.PublicKey, d Digest, signature []byte) bool {
	sum := sha256.Sum256(d[:])
	switch k := key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, sum[:], signature)
	}
	return false
}
