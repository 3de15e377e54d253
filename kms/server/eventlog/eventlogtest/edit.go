package eventlogtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"math/big"
	"slices"
	"time"
)

// Certificate makes a certificate of that name, as DER.
func Certificate(name string) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(err)
	return der
}

// List makes a signature list of one entry: a certificate, or a digest.
func List(entry []byte) []byte {
	kind := "\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72" // EFI_CERT_X509_GUID
	if len(entry) == 32 {
		kind = "\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28" // EFI_CERT_SHA256_GUID
	}
	b := binary.LittleEndian.AppendUint32([]byte(kind), uint32(28+16+len(entry)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(16+len(entry)))
	return append(append(b, make([]byte, 16)...), entry...)
}

// Signed says that a program's signature was found to hold by an entry of db.
func Signed(der []byte) Event { return Variable(Authority, "db", append(make([]byte, 16), der...)) }

// Insert puts an event in front of the one at an index.
func (l *Log) Insert(i int, e Event) { l.Events = slices.Insert(l.Events, i, e) }

// SetSection gives a UKI another section.
func (l *Log) SetSection(name string, content []byte) {
	digest := sha256.Sum256([]byte(name + "\x00"))
	i := l.Find(11, IPL, func(e Event) bool { return e.Digest == digest })
	l.Events[i+1].Digest = sha256.Sum256(content)
}

// AddSection gives a UKI one more section.
func (l *Log) AddSection(name string, content []byte) {
	for _, b := range [][]byte{[]byte(name + "\x00"), content} {
		l.Events = append(l.Events, Event{PCR: 11, Type: IPL, Digest: sha256.Sum256(b), Data: utf16Of(name + "\x00")})
	}
}
