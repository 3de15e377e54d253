package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"latchkey/internal/secret"
)

// A ring is a named key in versions: the newest seals, all that are not
// retired open. Rings are made when they are first used, and never by a
// read.
type ring string

const ringTalos ring = "talos"

// ringKeySize is a version's key, in bytes.
const ringKeySize = 32

// A KeyVersion is one version as the operator sees it: never its bytes.
type KeyVersion struct {
	Ring    string     `json:"ring"`
	Version uint32     `json:"version"`
	Created time.Time  `json:"created"`
	Retired *time.Time `json:"retired,omitempty"`
	Current bool       `json:"current"`
	Users   int        `json:"users"` // machines that used it within the last 30 days, where that is known
}

// ringEntry is a version in the database: two times, in seconds since 1970
// (retired: 0 is not), and the key, which a retired one has no longer.
type ringEntry struct {
	created, retired uint64
	key              secret.Bytes
}

func (r ring) key(version uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(r), 0), version)
}

// ringVersion reads one version; false means that there is none.
func (v view) ringVersion(r ring, version uint32) (e ringEntry, found bool, err error) {
	sealed := v.Get(tableKeys, r.key(version))
	if sealed == nil {
		return e, false, nil
	}
	plain, _, err := v.v.open(place{tableKeys, r.key(version), stateRow}, sealed)
	if err != nil {
		return e, false, err
	}
	if len(plain) != 16 && len(plain) != 16+ringKeySize {
		return e, false, fmt.Errorf("reading key %s: %w", r, ErrUnverified)
	}
	e.created, e.retired = binary.BigEndian.Uint64(plain), binary.BigEndian.Uint64(plain[8:])
	e.key = secret.Own(plain[16:])
	return e, true, nil
}

func (t *txn) saveRing(r ring, version uint32, e ringEntry) error {
	plain := binary.BigEndian.AppendUint64(nil, e.created)
	plain = binary.BigEndian.AppendUint64(plain, e.retired)
	plain = append(plain, e.key.Reveal()...)
	defer clear(plain)
	return t.write(place{tableKeys, r.key(version), stateRow}, plain)
}

// ringNewest is the highest version; 0 means that there is none.
func (v view) ringNewest(r ring) (newest uint32) {
	prefix := append([]byte(r), 0)
	v.Scan(tableKeys, prefix, func(key, _ []byte) bool {
		if !bytes.HasPrefix(key, prefix) || len(key) != len(prefix)+4 {
			return false
		}
		newest = binary.BigEndian.Uint32(key[len(prefix):])
		return true
	})
	return newest
}

// ringCurrent is the version that seals, made if there is none yet.
func (t *txn) ringCurrent(r ring) (uint32, ringEntry, error) {
	newest := t.ringNewest(r)
	if newest == 0 {
		return t.ringRotate(r)
	}
	e, found, err := t.ringVersion(r, newest)
	if err == nil && (!found || e.key.Len() != ringKeySize) {
		err = fmt.Errorf("reading key %s: %w", r, ErrUnverified)
	}
	return newest, e, err
}

// ringRotate adds a version.
func (t *txn) ringRotate(r ring) (uint32, ringEntry, error) {
	version := t.ringNewest(r) + 1
	e := ringEntry{created: uint64(time.Now().Unix()), key: secret.Random(ringKeySize)}
	t.bump()
	if err := t.saveRing(r, version, e); err != nil {
		return 0, e, err
	}
	return version, e, t.note(Event{Event: "key rotate", Detail: fmt.Sprintf("%s: version %d", r, version)})
}

// ringSeal seals with the current version: nonce ‖ AEAD. What binds it must
// hold the version, which seal learns first.
func (t *txn) ringSeal(r ring, plain secret.Bytes, aad func(version uint32) []byte) (uint32, []byte, error) {
	version, e, err := t.ringCurrent(r)
	if err != nil {
		return 0, nil, err
	}
	defer e.key.Wipe()
	nonce := secret.Random(12).Reveal()
	return version, newAEAD(e.key.Reveal()).Seal(nonce, nonce, plain.Reveal(), aad(version)), nil
}

// errSealed is a blob that this KMS did not make, or not for this use.
var errSealed = errors.New("the blob does not open")

// ringOpen opens what ringSeal made.
func (v view) ringOpen(r ring, version uint32, sealed, aad []byte) (secret.Bytes, error) {
	e, found, err := v.ringVersion(r, version)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer e.key.Wipe()

	switch {
	case !found:
		return secret.Bytes{}, fmt.Errorf("%w: there is no version %d of key %s", errSealed, version, r)
	case e.key.Len() != ringKeySize:
		return secret.Bytes{}, fmt.Errorf("%w: version %d of key %s is retired", errSealed, version, r)
	case len(sealed) < 12:
		return secret.Bytes{}, fmt.Errorf("%w: it is too short", errSealed)
	}

	plain, err := newAEAD(e.key.Reveal()).Open(nil, sealed[:12], sealed[12:], aad)
	if err != nil {
		return secret.Bytes{}, errSealed
	}
	return secret.Own(plain), nil
}

// Keys lists the versions of a ring.
func (s *Server) Keys(name string) (out []KeyVersion, err error) {
	r := ring(name)
	err = s.read(func(v view) error {
		newest := v.ringNewest(r)
		users, err := v.ringUsers(r)
		if err != nil {
			return err
		}

		for version := uint32(1); version <= newest; version++ {
			e, found, err := v.ringVersion(r, version)
			if err != nil {
				return err
			}
			e.key.Wipe()
			if found {
				out = append(out, e.present(r, version, newest, users[version]))
			}
		}

		return nil
	})
	return out, err
}

func (e ringEntry) present(r ring, version, newest uint32, users int) KeyVersion {
	k := KeyVersion{Ring: string(r), Version: version, Created: time.Unix(int64(e.created), 0).UTC(), Current: version == newest, Users: users}
	if e.retired != 0 {
		at := time.Unix(int64(e.retired), 0).UTC()
		k.Retired = &at
	}
	return k
}

// RotateKey adds a version to a ring: from now on it seals.
func (s *Server) RotateKey(ctx context.Context, name string) ([]KeyVersion, error) {
	err := s.update(ctx, func(t *txn) error {
		_, e, err := t.ringRotate(ring(name))
		e.key.Wipe()
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.Keys(name)
}

// RetireKey destroys a version that is not the current one: what it sealed
// opens no longer, anywhere.
func (s *Server) RetireKey(ctx context.Context, name string, version uint32) ([]KeyVersion, error) {
	r := ring(name)
	err := s.update(ctx, func(t *txn) error {
		e, found, err := t.ringVersion(r, version)
		defer e.key.Wipe()
		switch {
		case err != nil:
			return err
		case !found:
			return fmt.Errorf("version %d of key %s: %w", version, r, ErrNotFound)
		case version == t.ringNewest(r):
			return fmt.Errorf("retiring version %d of key %s: %w: it is the current one; rotate first", version, r, ErrRefused)
		case e.retired != 0:
			return fmt.Errorf("retiring version %d of key %s: %w: it is retired already", version, r, ErrRefused)
		}

		t.bump()
		gone := ringEntry{created: e.created, retired: uint64(time.Now().Unix())}
		if err := t.saveRing(r, version, gone); err != nil {
			return err
		}

		return t.note(Event{Event: "key retire", From: operator(ctx), Detail: fmt.Sprintf("%s: version %d", r, version)})
	})
	if err != nil {
		return nil, err
	}

	return s.Keys(name)
}
