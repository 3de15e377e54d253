// Package ekcert judges the certificates that TPM vendors put into their
// chips: that an endorsement key (EK) is one of a real TPM, by roots that
// the operator chose. Facts are of the TCG EK Credential Profile 2.3.
package ekcert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Errors that a certificate is refused with.
var (
	ErrMalformed = errors.New("the certificate is malformed")
	ErrOtherKey  = errors.New("the certificate is another key's")
	ErrNotEK     = errors.New("the certificate is not an endorsement key's")
	ErrChain     = errors.New("the certificate does not lead to a trusted root")
	ErrRevoked   = errors.New("the certificate was revoked")
	ErrStale     = errors.New("the revocation list of an issuer is out of date")
)

// maxChain bounds a chain, EK and root included: vendors' have three or
// four.
const maxChain = 6

// A Pool is what the operator trusts. It is not changed once it is loaded.
type Pool struct {
	roots, intermediates *x509.CertPool
	count                int // of roots
	issuers              []*x509.Certificate
	lists                []*x509.RevocationList
}

// A Certificate is what was learnt of an EK's certificate.
type Certificate struct {
	Issuer string    `json:"issuer"`
	Root   string    `json:"root"`
	Serial string    `json:"serial"` // hex
	Until  time.Time `json:"until"`
}

// Verify checks that der is a certificate of exactly this EK (a TPMT_PUBLIC
// of the P-256 or RSA-2048 template), that it leads to a root, and that
// nobody on the way was revoked.
func (p *Pool) Verify(der, ekPublic []byte, now time.Time) (*Certificate, error) {
	if p == nil {
		return nil, fmt.Errorf("%w: there are no roots", ErrChain)
	}
	leaf, err := parse(der)
	if err != nil {
		return nil, err
	}

	if err := sameKey(leaf, ekPublic); err != nil {
		return nil, err
	}
	if err := checkLeaf(leaf); err != nil {
		return nil, err
	}

	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: p.roots, Intermediates: p.intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChain, err)
	}

	for _, chain := range chains {
		if len(chain) > maxChain {
			err = fmt.Errorf("%w: more than %d certificates", ErrChain, maxChain)
			continue
		}
		if err = p.revoked(chain, now); err == nil {
			return &Certificate{leaf.Issuer.String(), chain[len(chain)-1].Subject.String(), leaf.SerialNumber.Text(16), leaf.NotAfter}, nil
		}
	}

	return nil, err
}

// parse reads one certificate; NV indexes are often longer than what is in
// them.
func parse(der []byte) (*x509.Certificate, error) {
	var raw asn1.RawValue
	if _, err := asn1.Unmarshal(der, &raw); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	c, err := x509.ParseCertificate(raw.FullBytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return c, nil
}

// Extensions and usages of an EK's certificate.
var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidEKCertificate  = asn1.ObjectIdentifier{2, 23, 133, 8, 1}           // tcg-kp-EKCertificate, section 3.2.16
	oidRSAESOAEP      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 7} // RFC 4055; some vendors mark the key so
)

// checkLeaf: no CA, and an EK's usage if it names any. The TPM's make is a
// directory name in a subjectAltName that is critical where the subject is
// empty (section 3.2.9); crypto/x509 has no place for it.
func checkLeaf(c *x509.Certificate) error {
	if c.IsCA {
		return fmt.Errorf("%w: it is a CA's", ErrNotEK)
	}
	named := len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0
	if named && !slices.ContainsFunc(c.UnknownExtKeyUsage, oidEKCertificate.Equal) {
		return fmt.Errorf("%w: it is for another use", ErrNotEK)
	}
	c.UnhandledCriticalExtensions = slices.DeleteFunc(c.UnhandledCriticalExtensions, oidSubjectAltName.Equal)
	return nil
}

// sameKey compares the certificate's key with the end of the public area,
// which is the key itself in both templates.
func sameKey(c *x509.Certificate, ekPublic []byte) error {
	var key []byte
	switch k := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return fmt.Errorf("%w: no P-256 key", ErrOtherKey)
		}
		point, err := k.Bytes()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		key = slices.Concat([]byte{0, 32}, point[1:33], []byte{0, 32}, point[33:])
	case *rsa.PublicKey:
		return sameRSA(k, ekPublic)
	default:
		oaep, err := readOAEP(c.RawSubjectPublicKeyInfo)
		if err != nil {
			return err
		}
		return sameRSA(oaep, ekPublic)
	}

	if !bytes.HasPrefix(ekPublic, []byte{0x00, 0x23}) || !bytes.HasSuffix(normalPoint(ekPublic), key) {
		return ErrOtherKey
	}
	return nil
}

func sameRSA(k *rsa.PublicKey, ekPublic []byte) error {
	const size = 256
	if k.E != 65537 || k.N.BitLen() != 8*size || !bytes.HasPrefix(ekPublic, []byte{0x00, 0x01}) ||
		!bytes.HasSuffix(ekPublic, append([]byte{1, 0}, k.N.FillBytes(make([]byte, size))...)) {
		return ErrOtherKey
	}
	return nil
}

// normalPoint gives the coordinates of a P-256 area their full length: some
// TPMs strip leading zeros. The area before them has 54 bytes.
func normalPoint(area []byte) []byte {
	const head = 54
	if len(area) < head {
		return nil
	}

	out, rest := slices.Clone(area[:head]), area[head:]
	for range 2 {
		if len(rest) < 2 {
			return nil
		}
		n := int(rest[0])<<8 | int(rest[1])
		if n > 32 || len(rest)-2 < n {
			return nil
		}
		out = append(out, 0, 32)
		out = append(out, make([]byte, 32-n)...)
		out, rest = append(out, rest[2:2+n]...), rest[2+n:]
	}

	return append(out, rest...)
}

// readOAEP reads an RSA key that is marked as one for OAEP.
func readOAEP(info []byte) (*rsa.PublicKey, error) {
	var spki struct {
		Algorithm struct {
			OID        asn1.ObjectIdentifier
			Parameters asn1.RawValue `asn1:"optional"`
		}
		Key asn1.BitString
	}

	if rest, err := asn1.Unmarshal(info, &spki); err != nil || len(rest) != 0 || !spki.Algorithm.OID.Equal(oidRSAESOAEP) {
		return nil, fmt.Errorf("%w: a key of unknown kind", ErrOtherKey)
	}
	var key struct {
		N *big.Int
		E int
	}

	if rest, err := asn1.Unmarshal(spki.Key.Bytes, &key); err != nil || len(rest) != 0 || key.N.Sign() <= 0 {
		return nil, fmt.Errorf("%w: its RSA key", ErrMalformed)
	}
	return &rsa.PublicKey{N: key.N, E: key.E}, nil
}

// revoked looks every certificate but the root up in the lists of its
// issuer. A list that is past its date revokes nothing that we know of, and
// trusts nothing either.
func (p *Pool) revoked(chain []*x509.Certificate, now time.Time) error {
	for i, c := range chain[:len(chain)-1] {
		issuer := chain[i+1]
		for _, l := range p.lists {
			if !bytes.Equal(l.RawIssuer, issuer.RawSubject) || l.CheckSignatureFrom(issuer) != nil {
				continue
			}
			if !l.NextUpdate.IsZero() && now.After(l.NextUpdate) {
				return fmt.Errorf("%w: %s, since %s", ErrStale, issuer.Subject, l.NextUpdate.Format(time.DateOnly))
			}
			for _, r := range l.RevokedCertificateEntries {
				if r.SerialNumber.Cmp(c.SerialNumber) == 0 {
					return fmt.Errorf("%w: %s, on %s", ErrRevoked, c.SerialNumber.Text(16), r.RevocationTime.Format(time.DateOnly))
				}
			}
		}
	}
	return nil
}
