package server

import (
	"context"
	"encoding/binary"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// SetClock changes what the replicas of a KMS have to agree on: this one's
// clock.
func (s *Server) SetClock(by time.Duration) { s.cookies.base += by }

// Fill enrolls nodes that never ask, each with a volume of its own.
func (s *Server) Fill(ctx context.Context, first, n int) error {
	const at = 20 // rows of four tables in one transaction
	for ; n > 0; first, n = first+at, n-at {
		err := s.update(ctx, func(t *txn) error {
			for i := first; i < first+min(n, at); i++ {
				if err := t.addNode(uint64(i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) addNode(i uint64) error {
	var id kms.NodeID
	var uuid kms.UUID
	copy(id[:], secret.Random(32).Reveal())
	binary.BigEndian.PutUint64(uuid[:], i+1<<32)
	now := time.Now()
	row := nodeRow{
		ID: id, State: stateApproved, First: now, Last: now, LastStatus: "ok", Pins: map[int]digest{7: {1}, 12: {2}},
		Shown: &shown{Operation: "get", Boot: true, Volumes: []shownVolume{{UUID: uuid}}, PCRs: map[int]digest{7: {1}, 11: {3}, 12: {2}, 15: {}}},
	}
	if err := t.saveNode(row); err != nil {
		return err
	}

	if err := t.save(tableOwners, uuid[:], id); err != nil {
		return err
	}
	if err := t.saveVolume(volumeRow{UUID: uuid, Node: id, Kind: kms.Static, Created: now}); err != nil {
		return err
	}

	return t.saveSecret(volumeKey(id, uuid), stateActive, byte(kms.Static), secret.Random(44))
}

// Stranger decides on the proof of a node that nobody knows, as a redeem
// does once the TPM has opened the challenge: it leaves out the public-key
// work, which workers bound.
func (s *Server) Stranger(ctx context.Context) (kms.Status, error) {
	p := &proof{
		node: kms.NodeID(secret.Random(32).Reveal()), operation: kms.Get, volumes: []kms.Want{{UUID: kms.UUID{1}}},
		pcrs: map[int]digest{7: {7}, 11: {11}, 12: {12}, 15: {}}, th2: [32]byte(secret.Random(32).Reveal()),
		expiry: s.cookies.now() + challengeLife, from: "192.0.2.7",
	}
	d, err := s.decide(ctx, p)
	if err != nil {
		return 0, err
	}
	return d.Status, nil
}
