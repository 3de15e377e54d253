package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/store"
)

// Records of tableMeta beside the state.
var (
	keyWrapped = []byte("wrapped-key") // data keys, each sealed with the wrapping key: keyRow
	keySigning = []byte("signing")     // Ed25519 seeds, 32 bytes each, sealed
	keyName    = []byte("name")        // of the KMS, sealed; from format 3 on
)

// plainMeta tells whether a record is in the clear, and counted.
func plainMeta(table string, key []byte) bool {
	_, head := serverOf(key)
	return table == tableMeta && !head && string(key) != string(keySigning) && string(key) != string(keyName)
}

// ErrWrappingKey is a wrapping key that does not open the data key.
var ErrWrappingKey = errors.New("the wrapping key does not fit this database")

// nameSize is the length of what a KMS is called, in bytes.
const nameSize = 8

// Initialize makes the keys of a new KMS in an empty store.
func Initialize(ctx context.Context, st store.Store, wrapping secret.Bytes, mark Mark) (kms.Pin, error) {
	key, seed := secret.Random(32), secret.Random(ed25519.SeedSize)
	defer key.Wipe()
	defer seed.Wipe()
	first := wrappedKey{ID: firstKey, Print: printOf(key), Wrapped: wrap(wrapping, firstKey, key)}
	row := keyRow{firstKey, []wrappedKey{first}}.encode()
	var have keychain
	if err := have.add(firstKey, key); err != nil {
		return kms.Pin{}, err
	}
	v := have.at(row)

	err := st.Update(ctx, func(tx store.Tx) error {
		if tx.Get(tableMeta, keyWrapped) != nil {
			return errors.New("initializing: this store holds a KMS already")
		}
		s := state{epoch: 1, known: firstKey, sealer: firstKey}
		for name, value := range map[string][]byte{
			string(keyFormat):  current.encode(),
			string(keyWrapped): row,
			string(keySigning): v.seal(place{tableMeta, keySigning, 0}, s.epoch, seed.Reveal()),
			string(keyName):    v.seal(place{tableMeta, keyName, 0}, s.epoch, v.sealing.name),
		} {
			if err := v.count(&s.set, tableMeta, []byte(name), value); err != nil {
				return err
			}
			if err := tx.Put(tableMeta, []byte(name), value); err != nil {
				return err
			}
		}
		s.seals = v.sealing.made.Load() + 1
		return tx.Put(tableMeta, keyState, v.seal(place{tableMeta, keyState, 0}, s.epoch, s.encode(v)))
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

// ChangeWrapping wraps the data keys with another key. The data keys, and so
// every record, stay as they are; backups made before still need the old one.
func (l *Ledger) ChangeWrapping(ctx context.Context, from, to secret.Bytes) error {
	if from.Len() != 32 || to.Len() != 32 {
		return fmt.Errorf("changing the wrapping key: %w", ErrWrappingKey)
	}
	return l.Update(ctx, func(t *Txn) error {
		row := t.View.keys.row
		keys := make([]wrappedKey, 0, len(row.Keys))
		for _, w := range row.Keys {
			key, err := w.unwrap(from)
			if err != nil {
				return err
			}
			w.Wrapped = wrap(to, w.ID, key)
			key.Wipe()
			keys = append(keys, w)
		}
		row.Keys = keys
		t.Bump()
		if err := t.putKeys(row); err != nil {
			return err
		}
		return t.Note(Event{Event: "wrapping change", From: Who(ctx)})
	})
}

// unlock opens the data keys and the signing keys.
func (l *Ledger) unlock(wrapping secret.Bytes) error {
	return l.store.View(func(r store.Reader) error {
		if err := checkFormat(r); err != nil {
			return err
		}
		if err := l.chain.unwrap(wrapping, r.Get(tableMeta, keyWrapped)); err != nil {
			return err
		}
		v := l.view(r)
		if err := l.loadName(v); err != nil {
			return err
		}
		return l.loadKeys(v)
	})
}

// loadName reads what the KMS is called. Until format 3 that is derived from
// the data key.
func (l *Ledger) loadName(v View) (err error) {
	sealed := v.r.Get(tableMeta, keyName)
	if sealed == nil && v.keys.row.first() {
		l.name = v.keys.sealing.name
		return nil
	}
	if l.name, _, err = v.keys.open(place{tableMeta, keyName, 0}, sealed); err == nil && len(l.name) != nameSize {
		err = fmt.Errorf("reading the name of the KMS: %w", ErrUnverified)
	}
	return err
}
