package lk1

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"slices"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/attest"
	"latchkey/kms/server/fleet"
)

// challenge answers M1 with M2. It reads no record: whoever asks, known or
// not, costs and gets the same.
func (s *Service) challenge(ctx context.Context, m1 []byte) (m2 []byte, err error) {
	hello, err := kms.ParseHello(m1)
	if err != nil {
		return nil, err
	}
	s.tended(ctx)
	err = s.work.Do(ctx, func() error {
		m2, err = s.challengeFor(hello, kms.HelloHash(m1))
		return err
	})
	return m2, err
}

func (s *Service) challengeFor(hello *kms.Hello, th1 [32]byte) ([]byte, error) {
	ek, err := attest.ReadEK(hello.EKPublic)
	if err != nil {
		return nil, err
	}

	if _, err := attest.ReadAK(hello.AKPublic); err != nil {
		return nil, err
	}
	if _, err := ecdh.X25519().NewPublicKey(hello.Ephemeral[:]); err != nil {
		return nil, err
	}
	key := s.cookies.newest()
	t := &ticket{
		th1: th1, s: secret.Random(32), x25519: key.dh().raw.Clone(), peer: hello.Ephemeral,
		node: kms.NodeIDOf(hello.EKPublic), akPublic: hello.AKPublic,
		operation: hello.Operation, volumes: hello.Volumes, expiry: s.ledger.Now() + challengeLife,
		selection: s.selection(), key: key,
	}
	defer t.wipe()
	if s.enroll == fleet.Cert && len(hello.EKCert) > 0 {
		t.ekPublic, t.ekCert = hello.EKPublic, hello.EKCert
	}

	core := kms.Core{
		Ephemeral: key.dh().public, MLKEM: key.kem().public,
		Selection: t.selection,
	}
	rand.Read(core.Nonce[:])
	if core.Blob, core.Seed, err = attest.MakeCredential(ek, attest.NameOf(hello.AKPublic), t.s); err != nil {
		return nil, err
	}

	m2 := kms.Challenge{Core: core.Encode()}
	t.th2 = kms.CoreHash(t.th1, m2.Core)
	m2.Cookie = t.seal()
	m2.Signature = ed25519.Sign(s.signer(hello.Pins), m2.Signed(t.th2))
	return m2.Encode(), nil
}

// signer is the first of our keys that the node pins. One who pins none of
// them gets our newest, and will not believe it.
func (s *Service) signer(pins []kms.KeyID) ed25519.PrivateKey {
	keys := s.ledger.Signing()
	for _, k := range keys {
		if slices.Contains(pins, ledger.PinOf(k).ID()) {
			return k
		}
	}
	return keys[0]
}
