package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// anyServer talks to servers of tests, whatever their certificate.
var anyServer = &http.Client{Transport: &http.Transport{
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}, DisableKeepAlives: true,
}}

// pairCommand: pair CERT KEY END writes a pair that ends at
// END, in seconds since 1970.
func pairCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: pair CERT KEY END")
	}
	end, err := strconv.ParseInt(args[2], 10, 64)
	ts.Check(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	c := &x509.Certificate{SerialNumber: big.NewInt(end), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(end, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	ts.Check(err)
	private, err := x509.MarshalECPrivateKey(key)
	ts.Check(err)
	for path, block := range map[string]*pem.Block{args[0]: {Type: "CERTIFICATE", Bytes: der}, args[1]: {Type: "EC PRIVATE KEY", Bytes: private}} {
		ts.Check(os.WriteFile(ts.MkAbs(path)+".new", pem.EncodeToMemory(block), 0o600))
		ts.Check(os.Rename(ts.MkAbs(path)+".new", ts.MkAbs(path)))
	}
}
