package lk1

import (
	"context"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// Stranger decides on the proof of a node that nobody knows, as a redeem
// does once the TPM has opened the challenge: it leaves out the public-key
// work, which workers bound.
func (s *Service) Stranger(ctx context.Context, from string) (kms.Status, error) {
	p := &proof{
		node: kms.NodeID(secret.Random(32).Reveal()), operation: kms.Get, volumes: []kms.Want{{UUID: kms.UUID{1}}},
		pcrs: map[int]digest{7: {7}, 11: {11}, 12: {12}, 15: {}}, th2: [32]byte(secret.Random(32).Reveal()),
		expiry: s.ledger.Now() + challengeLife, from: from,
	}
	d, err := s.decide(ctx, p)
	if err != nil {
		return 0, err
	}
	return d.Status, nil
}
