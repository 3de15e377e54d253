package server

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/store"
)

// Records of tableMeta beside the state.
var (
	keyWrapped = []byte("wrapped-key") // data key, sealed with the wrapping key
	keySigning = []byte("signing")     // Ed25519 seeds, 32 bytes each, sealed
)

// ErrWrappingKey is a wrapping key that does not open the data key.
var ErrWrappingKey = errors.New("the wrapping key does not fit this database")

// Initialize makes the keys of a new KMS in an empty store.
func Initialize(ctx context.Context, st store.Store, wrapping secret.Bytes, mark Mark) (kms.Pin, error) {
	dataKey, seed := secret.Random(32), secret.Random(ed25519.SeedSize)
	defer dataKey.Wipe()
	defer seed.Wipe()
	v, err := newVault(dataKey)
	if err != nil {
		return kms.Pin{}, err
	}

	err = st.Update(ctx, func(tx store.Tx) error {
		if tx.Get(tableMeta, keyWrapped) != nil {
			return errors.New("initializing: this store holds a KMS already")
		}
		s := state{epoch: 1}
		for key, value := range map[string][]byte{
			string(keyWrapped): wrap(wrapping, dataKey),
			string(keySigning): v.seal(place{tableMeta, keySigning, stateRow}, s.epoch, seed.Reveal()),
			string(keyState):   v.seal(place{tableMeta, keyState, stateRow}, s.epoch, s.encode()),
		} {
			if err := tx.Put(tableMeta, []byte(key), value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return kms.Pin{}, err
	}

	return kms.Pin(ed25519.NewKeyFromSeed(seed.Reveal()).Public().(ed25519.PublicKey)), mark.Write(1)
}

// Holds tells whether a store holds a KMS already.
func Holds(st store.Store) (holds bool, err error) {
	err = st.View(func(r store.Reader) error {
		holds = r.Get(tableMeta, keyWrapped) != nil
		return nil
	})
	return holds, err
}

const wrapAAD = "lk1/data key"

func wrap(wrapping, dataKey secret.Bytes) []byte {
	aead := newAEAD(wrapping.Reveal())
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, dataKey.Reveal(), []byte(wrapAAD))
}

// unwrap opens the data key.
func unwrap(wrapping secret.Bytes, r store.Reader) (secret.Bytes, error) {
	wrapped := r.Get(tableMeta, keyWrapped)
	if wrapped == nil {
		return secret.Bytes{}, fmt.Errorf("opening the data key: %w: there is none", ErrUnverified)
	}
	aead := newAEAD(wrapping.Reveal())
	if len(wrapped) < aead.NonceSize() {
		return secret.Bytes{}, fmt.Errorf("opening the data key: %w", ErrUnverified)
	}
	plain, err := aead.Open(nil, wrapped[:aead.NonceSize()], wrapped[aead.NonceSize():], []byte(wrapAAD))
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("opening the data key: %w", ErrWrappingKey)
	}
	return secret.Own(plain), nil
}

// ChangeWrapping wraps the data key with another key. The data key, and so
// every record, stays as it is; backups made before still need the old one.
func (s *Server) ChangeWrapping(ctx context.Context, from, to secret.Bytes) error {
	if from.Len() != 32 || to.Len() != 32 {
		return fmt.Errorf("changing the wrapping key: %w", ErrWrappingKey)
	}
	return s.update(ctx, func(t *txn) error {
		dataKey, err := unwrap(from, t)
		if err != nil {
			return err
		}
		defer dataKey.Wipe()
		t.bump()
		if err := t.tx.Put(tableMeta, keyWrapped, wrap(to, dataKey)); err != nil {
			return err
		}
		return t.note(Event{Event: "wrapping change", From: "operator"})
	})
}

// unlock opens the data key and the signing keys.
func (s *Server) unlock(wrapping secret.Bytes) error {
	if wrapping.Len() != 32 {
		return fmt.Errorf("opening the data key: %w", ErrWrappingKey)
	}
	return s.store.View(func(r store.Reader) error {
		dataKey, err := unwrap(wrapping, r)
		if err != nil {
			return err
		}
		defer dataKey.Wipe()
		if s.vault, err = newVault(dataKey); err != nil {
			return err
		}
		return s.loadKeys(view{r, s.vault})
	})
}

// Checked is what a check of the database counted.
type Checked struct {
	Epoch   uint64 `json:"epoch"`
	Records int    `json:"records"`
	Events  uint64 `json:"audit_events"`
	Head    Head   `json:"audit_head"`
}

// A Head is the audit log's end, signed with the KMS' key: kept elsewhere,
// it shows later that nothing before it was changed.
type Head struct {
	Hash      string `json:"hash"`
	Key       string `json:"key"`
	Signature string `json:"signature"`
}

// head signs "lk1/audit-head" ‖ sequence number ‖ hash.
func (s *Server) head(st state) Head {
	signed := binary.BigEndian.AppendUint64([]byte("lk1/audit-head"), st.auditSeq)
	signature := ed25519.Sign(s.signing()[0], append(signed, st.auditHash[:]...))
	return Head{hex.EncodeToString(st.auditHash[:]), s.Pins()[0].String(), hex.EncodeToString(signature)}
}

// Check verifies every sealed record, that none is missing or older than
// the state, the audit log, and the high-water mark.
func (s *Server) Check() (Checked, error) {
	mark, err := s.mark.Read()
	if err != nil {
		return Checked{}, fmt.Errorf("reading the epoch's high-water mark: %w", err)
	}

	var c Checked
	err = s.read(func(v view) error {
		st, err := v.readState()
		if err != nil {
			return err
		}
		if st.epoch < mark {
			return fmt.Errorf("checking the epoch: %w (epoch %d, mark %d): was it restored from an old backup?", ErrRolledBack, st.epoch, mark)
		}
		c.Epoch, c.Events, c.Head = st.epoch, st.auditSeq, s.head(st)
		if c.Records, err = v.verifyRecords(st); err != nil {
			return err
		}
		return v.verifyAudit(st)
	})

	return c, err
}

// verifyRecords opens every record and compares the digest over all.
func (v view) verifyRecords(st state) (n int, err error) {
	var set [32]byte
	for _, table := range sealedTables {
		v.Scan(table, nil, func(key, value []byte) bool {
			p := place{table, key, stateRow}
			if table == tableSecrets && len(key) > 0 {
				p.state = key[len(key)-1]
			}
			var epoch uint64
			var plain []byte
			if plain, epoch, err = v.v.open(p, value); err != nil {
				return false
			}

			clear(plain)
			if epoch > st.epoch {
				err = fmt.Errorf("checking %s: %w: a record is newer than the database", table, ErrUnverified)
				return false
			}

			xor(&set, v.v.digest(table, key, value))
			n++
			return true
		})
		if err != nil {
			return n, err
		}
	}

	if set != st.set {
		return n, fmt.Errorf("checking the records: %w: one was removed, or put back from an older copy", ErrUnverified)
	}
	return n, nil
}

// Restored makes a verified copy of an older database the current one: its
// epoch goes above the mark of the one that it replaces.
func (s *Server) Restored(ctx context.Context, mark uint64) (Checked, error) {
	err := s.update(ctx, func(t *txn) error {
		from := t.state.epoch
		t.state.epoch = max(t.state.epoch, mark)
		t.bump()
		return t.note(Event{Event: "restore", From: operator(ctx), Detail: fmt.Sprintf("from epoch %d, to %d", from, t.state.epoch)})
	})
	if err != nil {
		return Checked{}, err
	}
	return s.Check()
}
