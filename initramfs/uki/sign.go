package uki

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/foxboron/go-uefi/authenticode"
)

// SignBoot signs an image for Secure Boot (Microsoft Authenticode): the
// firmware runs it if the certificate is in its db. Key and certificate are
// PEM; one file may hold both. A certificate may be DER, as shim's are.
func SignBoot(image, key, certificate []byte) ([]byte, error) {
	if _, err := x509.ParseCertificate(certificate); err == nil {
		certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("reading the Secure Boot key and certificate: %w", err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || pair.Leaf == nil {
		return nil, errors.New("reading the Secure Boot key: it cannot sign")
	}
	if pair.Leaf.PublicKeyAlgorithm != x509.RSA {
		return nil, fmt.Errorf("reading the Secure Boot certificate: its key is %v; firmware verifies RSA only", pair.Leaf.PublicKeyAlgorithm)
	}

	pe, err := authenticode.Parse(bytes.NewReader(image))
	if err != nil {
		return nil, fmt.Errorf("signing the image: %w", err)
	}
	if _, err := pe.Sign(signer, pair.Leaf); err != nil {
		return nil, fmt.Errorf("signing the image: %w", err)
	}

	return pe.Bytes(), nil
}
