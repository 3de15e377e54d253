// Package certfile reads certificates, keys and revocation lists from files.
package certfile

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"slices"
	"time"
)

// Authorities reads the certificates of those who sign for a peer.
func Authorities(path string) (all []*x509.Certificate, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading CA certificates: %w", err)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading CA certificates: %s, number %d: %w", path, len(all)+1, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("reading CA certificates: %s holds no PEM certificate", path)
	}
	return all, nil
}

// Pool makes a pool of authorities.
func Pool(authorities []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range authorities {
		pool.AddCert(c)
	}
	return pool
}

// Revoked reads a list of revoked certificates, PEM or DER, that one of the
// authorities has signed and that has not ended by now. It returns their
// keys as Key has them.
func Revoked(path string, authorities []*x509.Certificate, now time.Time) (map[string]bool, error) {
	der, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the revocation list: %w", err)
	}
	if block, _ := pem.Decode(der); block != nil {
		der = block.Bytes
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("reading the revocation list %s: %w", path, err)
	}
	if !slices.ContainsFunc(authorities, func(c *x509.Certificate) bool { return list.CheckSignatureFrom(c) == nil }) {
		return nil, fmt.Errorf("reading the revocation list %s: none of the CA certificates has signed it", path)
	}
	if !list.NextUpdate.IsZero() && now.After(list.NextUpdate) {
		return nil, fmt.Errorf("reading the revocation list %s: it ended on %s; get the next one", path, list.NextUpdate.Format(time.DateOnly))
	}

	revoked := map[string]bool{}
	for _, e := range list.RevokedCertificateEntries {
		revoked[key(list.RawIssuer, e.SerialNumber)] = true
	}
	return revoked, nil
}

// Key names a certificate as its issuer does: RFC 5280, section 4.1.2.2.
func Key(c *x509.Certificate) string { return key(c.RawIssuer, c.SerialNumber) }

func key(issuer []byte, serial *big.Int) string { return string(issuer) + "\x00" + serial.String() }

// Client is a client's TLS configuration: authorities from the file ca, or
// the system's if it is empty, and, if cert is not empty, a certificate of
// its own. The certificate is read now, so that a wrong one is found, and
// again for each connection, so that it can be renewed.
func Client(version uint16, ca, cert, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: version}
	if ca != "" {
		authorities, err := Authorities(ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = Pool(authorities)
	}

	if cert == "" {
		return c, nil
	}
	load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("reading client certificate %s with key %s: %w", cert, key, err)
		}
		return &pair, nil
	}
	if _, err := load(nil); err != nil {
		return nil, err
	}
	c.GetClientCertificate = load
	return c, nil
}
