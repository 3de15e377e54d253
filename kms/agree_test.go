package kms_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/mlkem"
	"crypto/rand"
	"net/http/httptest"
	"testing"

	"latchkey/kms"
)

// Where the shares stand in the core of M2, behind their lengths.
const (
	atX25519 = 2 + 32 + 2
	atMLKEM  = atX25519 + 32 + 2
)

// What the pinned KMS itself may get wrong: shares that are none end the
// exchange before the TPM is asked, and there is nothing less to agree on.
func TestKeySharesThatAreNone(t *testing.T) {
	patch := func(at int, with []byte) func([]byte) []byte {
		return func(core []byte) []byte { copy(core[at:], with); return core }
	}
	resize := func(n int) func([]byte) []byte {
		return func(core []byte) []byte {
			var w kms.Writer
			w.Field(make([]byte, n))
			return bytes.Join([][]byte{core[:atMLKEM-2], w.Bytes(), core[atMLKEM+kms.MLKEMKeySize:]}, nil)
		}
	}
	// A point of order 8 (RFC 7748, section 6.1; in libsodium's list, too).
	order8 := []byte("\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a\xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00")
	for _, row := range []struct {
		name    string
		altered func([]byte) []byte
	}{
		{"X25519 of zeros", patch(atX25519, make([]byte, 32))},
		{"X25519 of order 8", patch(atX25519, order8)},
		{"ML-KEM coefficients over the modulus", patch(atMLKEM, bytes.Repeat([]byte{0xff}, 384))},
		{"ML-KEM's key is missing: X25519 alone", func(core []byte) []byte {
			return append(core[:atMLKEM-2:atMLKEM-2], core[atMLKEM+kms.MLKEMKeySize:]...)
		}},
		{"ML-KEM's key is empty", resize(0)},
		{"ML-KEM's key is that of ML-KEM-512", resize(800)},
		{"ML-KEM's key is that of ML-KEM-1024", resize(1568)},
		{"ML-KEM's key is a byte short", resize(kms.MLKEMKeySize - 1)},
		{"ML-KEM's key is a byte long", resize(kms.MLKEMKeySize + 1)},
	} {
		if err := getFrom(t, &scripted{altered: row.altered}, untouchable{t}); code(err) != kms.CodeBadAnswer {
			t.Errorf("%s: Get = %v, want code %s", row.name, err, kms.CodeBadAnswer)
		}
	}
}

// A KMS that cannot decapsulate gets keys that nobody has (FIPS 203, section
// 6.3, "implicit rejection"), and what it answers is no grant; with its own
// key it is.
func TestAnotherMLKEMKey(t *testing.T) {
	for _, row := range []struct {
		name, code string
		seed       byte
	}{{"its own", "", 26}, {"another", kms.CodeNoGrant, 27}} {
		granted := kms.Granted{UUID: one[0].UUID, Status: kms.NoSecret}
		s := &scripted{kem: kemOf(row.seed), decide: func() *kms.Decision {
			return &kms.Decision{Status: kms.OK, Volumes: []kms.Granted{granted}}
		}}
		if err := getFrom(t, s, plain{untouchable{t}}); code(err) != row.code {
			t.Errorf("%s: Get = %v, want code %q", row.name, err, row.code)
		}
	}
}

// kemOf is an ML-KEM key by the first byte of its seed, which counts up. The
// vectors' core has that of 26.
func kemOf(start byte) *mlkem.DecapsulationKey768 {
	key, err := mlkem.NewDecapsulationKey768(fill(start, mlkem.SeedSize))
	if err != nil {
		panic(err)
	}
	return key
}

// getFrom asks a KMS that holds the pinned key.
func getFrom(t *testing.T, s *scripted, p kms.Prover) error {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.key = private
	web := httptest.NewServer(s)
	defer web.Close()
	_, err = (&kms.Client{Pins: []kms.Pin{kms.Pin(public)}}).Get(context.Background(), web.URL, p, one)
	return err
}
