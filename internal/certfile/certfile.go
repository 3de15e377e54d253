// Package certfile reads certificates and keys from PEM files for clients
// of TLS.
package certfile

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Pool reads the certificates of the authorities that a peer is believed by.
func Pool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading CA certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading CA certificates: %s holds no PEM certificate", path)
	}
	return pool, nil
}

// Client is a client's TLS configuration: authorities from the file ca, or
// the system's if it is empty, and, if cert is not empty, a certificate of
// its own. The certificate is read now, so that a wrong one is found, and
// again for each connection, so that it can be renewed.
func Client(version uint16, ca, cert, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: version}
	if ca != "" {
		pool, err := Pool(ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
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
