package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// TPMHash is that of the certificate's key, else of the key that the TPM
// makes; both as crypto/x509 encodes them.
func TestHash(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	dev, raw := open(t, sim), rawBus(t, sim)
	rsp, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(tpm2.RSAEKTemplate)}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := (tpm2.FlushContext{FlushHandle: rsp.ObjectHandle}).Execute(raw); err != nil {
		t.Fatal(err)
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}

	key, err := tpm2.Pub(*public)
	if err != nil {
		t.Fatal(err)
	}

	if got, err := dev.Hash(ctx); err != nil || got != spkiHash(t, key) {
		t.Errorf("Hash = %s, %v, want %s", got, err, spkiHash(t, key))
	}
	certified, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}

	writeCertificate(t, raw, certified)
	if got, err := dev.Hash(ctx); err != nil || got != spkiHash(t, certified.Public()) {
		t.Errorf("Hash with a certificate = %s, %v, want %s", got, err, spkiHash(t, certified.Public()))
	}
	id := identify(t, dev, tpm.Options{EK: tpm.EKRSA2048, Certificate: true})
	if c, err := x509.ParseCertificate(id.EKCert()); err != nil || !certified.PublicKey.Equal(c.PublicKey) {
		t.Errorf("EKCert is not the certificate alone: %v", err)
	}

	read := id.EKCert()
	id.Close()
	later := identify(t, dev, tpm.Options{EK: tpm.EKRSA2048})
	if len(later.EKCert()) != 0 {
		t.Error("a certificate was read that nobody asked for")
	}

	if later.Certify(ctx); !bytes.Equal(later.EKCert(), read) {
		t.Error("Certify reads another certificate")
	}
}

func spkiHash(t *testing.T, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// writeCertificate defines the EK certificate's index, larger than what is
// in it, as manufacturers do.
func writeCertificate(t *testing.T, raw tpmBus, key *rsa.PrivateKey) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "EK"}, NotAfter: time.Unix(4e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}

	data := make([]byte, 1500)
	copy(data, der)
	owner := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	public := tpm2.TPMSNVPublic{
		NVIndex: 0x01C00002, NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(data)),
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true, NoDA: true},
	}
	if _, err := (tpm2.NVDefineSpace{AuthHandle: owner, PublicInfo: tpm2.New2B(public)}).Execute(raw); err != nil {
		t.Fatal(err)
	}

	for at := 0; at < len(data); at += 500 {
		rsp, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(0x01C00002)}.Execute(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (tpm2.NVWrite{
			AuthHandle: owner, NVIndex: tpm2.NamedHandle{Handle: 0x01C00002, Name: rsp.NVName},
			Data: tpm2.TPM2BMaxNVBuffer{Buffer: data[at : at+500]}, Offset: uint16(at),
		}).Execute(raw); err != nil {
			t.Fatal(err)
		}
	}
}
