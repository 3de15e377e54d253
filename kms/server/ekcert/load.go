package ekcert

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxFile bounds a file of the folder, in bytes: vendors' lists are the
// largest.
const maxFile = 16 << 20

// Load reads a folder of certificates (.pem, .crt, .cer, .der) and revocation
// lists (.crl), PEM or DER. Self-signed certificates are roots, others only
// lead to one. Every list must be signed by one of them.
func Load(dir string) (*Pool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}

	p := &Pool{roots: x509.NewCertPool(), intermediates: x509.NewCertPool()}
	for _, e := range entries {
		kind := strings.ToLower(filepath.Ext(e.Name()))
		if e.IsDir() || !slices.Contains([]string{".pem", ".crt", ".cer", ".der", ".crl"}, kind) {
			continue
		}
		if err := p.read(filepath.Join(dir, e.Name())); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
	}

	if p.count == 0 {
		return nil, errors.New("there is no self-signed CA certificate in it, and so no root")
	}
	for _, l := range p.lists {
		signed := func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, l.RawIssuer) && l.CheckSignatureFrom(c) == nil
		}
		if !slices.ContainsFunc(p.issuers, signed) {
			return nil, fmt.Errorf("no certificate in it signed the revocation list of %s", l.Issuer)
		}
	}

	return p, nil
}

func (p *Pool) read(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}

	if info.Size() > maxFile {
		return fmt.Errorf("more than %d bytes", maxFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}

	if block, _ := pem.Decode(text); block == nil {
		return p.add(text, strings.EqualFold(filepath.Ext(path), ".crl"))
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" && block.Type != "X509 CRL" {
			return fmt.Errorf("PEM of type %q is neither certificate nor revocation list", block.Type)
		}
		if err := p.add(block.Bytes, block.Type == "X509 CRL"); err != nil {
			return err
		}
	}

	return nil
}

// add takes one certificate or list, DER.
func (p *Pool) add(der []byte, list bool) error {
	if list {
		l, err := x509.ParseRevocationList(der)
		if err == nil {
			p.lists = append(p.lists, l)
		}
		return err
	}

	c, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}

	if !c.IsCA {
		return fmt.Errorf("%s is no CA", c.Subject)
	}
	p.issuers = append(p.issuers, c)
	if bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(c) == nil {
		p.roots.AddCert(c)
		p.count++
	} else {
		p.intermediates.AddCert(c)
	}

	return nil
}
