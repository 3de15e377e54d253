package site

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"latchkey/kms"
)

// Both sides show certificates that they made of their signing keys, and look
// at nothing but the keys: no authority, no name, no date. TLS 1.3 signs with
// 64 blanks in front (RFC 8446, section 4.4.3), so that no signature of it is
// one of lk1, or the other way round.

// errStranger is a peer with another key than it should have.
var errStranger = errors.New("the other side has another key than the one that is pinned")

// certificate is a key as TLS wants to see it.
func certificate(key ed25519.PrivateKey) (*tls.Certificate, error) {
	like := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} // RFC 5280, section 4.1.2.5: none
	der, err := x509.CreateCertificate(rand.Reader, like, like, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// hybrid keeps what is recorded today closed to a quantum computer, as lk1
// does.
var hybrid = []tls.CurveID{tls.X25519MLKEM768}

// peerOf is the other side's key.
func peerOf(state *tls.ConnectionState) (pin kms.Pin, ok bool) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return pin, false
	}
	key, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || len(key) != len(pin) {
		return pin, false
	}
	return kms.Pin(key), true
}

// nameOf is how a site's server says which of the center's keys it knows.
func nameOf(pin kms.Pin) string {
	id := pin.ID()
	return hex.EncodeToString(id[:]) + ".latchkey.internal"
}

// serverTLS shows the key that the other side asks for.
func serverTLS(keys func() []ed25519.PrivateKey) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: hybrid, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			all := keys()
			i := slices.IndexFunc(all, func(k ed25519.PrivateKey) bool {
				return nameOf(kms.Pin(k.Public().(ed25519.PublicKey))) == hello.ServerName
			})
			return certificate(all[max(i, 0)])
		},
	}
}

// clientTLS talks to who has one of these keys, and to nobody else.
func clientTLS(own ed25519.PrivateKey, pins []kms.Pin) (*tls.Config, error) {
	shown, err := certificate(own)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: hybrid, ServerName: nameOf(pins[0]),
		Certificates: []tls.Certificate{*shown},
		// There is no authority: VerifyConnection looks at the key.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if pin, ok := peerOf(&state); !ok || !slices.Contains(pins, pin) {
				return errStranger
			}
			return nil
		},
	}, nil
}
