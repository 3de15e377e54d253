package ledger

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
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
			string(keyFormat):  current.encode(),
			string(keyWrapped): wrap(wrapping, dataKey),
			string(keySigning): v.seal(place{tableMeta, keySigning, 0}, s.epoch, seed.Reveal()),
		} {
			xor(&s.set, v.digest(tableMeta, []byte(key), value))
			if err := tx.Put(tableMeta, []byte(key), value); err != nil {
				return err
			}
		}
		return tx.Put(tableMeta, keyState, v.seal(place{tableMeta, keyState, 0}, s.epoch, s.encode()))
	})
	if err != nil {
		return kms.Pin{}, err
	}

	return kms.Pin(ed25519.NewKeyFromSeed(seed.Reveal()).Public().(ed25519.PublicKey)), mark.Write(Position{Epoch: 1})
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
	aead := AEAD(wrapping.Reveal())
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
	aead := AEAD(wrapping.Reveal())
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
func (l *Ledger) ChangeWrapping(ctx context.Context, from, to secret.Bytes) error {
	if from.Len() != 32 || to.Len() != 32 {
		return fmt.Errorf("changing the wrapping key: %w", ErrWrappingKey)
	}
	return l.Update(ctx, func(t *Txn) error {
		dataKey, err := unwrap(from, t.View.r)
		if err != nil {
			return err
		}
		defer dataKey.Wipe()
		t.Bump()
		if err := t.put(tableMeta, keyWrapped, wrap(to, dataKey)); err != nil {
			return err
		}
		return t.Note(Event{Event: "wrapping change", From: Who(ctx)})
	})
}

// unlock opens the data key and the signing keys.
func (l *Ledger) unlock(wrapping secret.Bytes) error {
	if wrapping.Len() != 32 {
		return fmt.Errorf("opening the data key: %w", ErrWrappingKey)
	}
	return l.store.View(func(r store.Reader) error {
		if err := checkFormat(r); err != nil {
			return err
		}
		dataKey, err := unwrap(wrapping, r)
		if err != nil {
			return err
		}
		defer dataKey.Wipe()
		if l.vault, err = newVault(dataKey); err != nil {
			return err
		}
		return l.loadKeys(View{r, l})
	})
}
