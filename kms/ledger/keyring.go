package ledger

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"latchkey/internal/secret"
)

// A Keyring is the rings of one owner. Only who has the Keyring that was
// registered under its name gets at them.
type Keyring struct {
	name  string
	users func(View) (map[uint32]int, error)
}

// NewKeyring makes a keyring to register. Users, if it is there, counts who
// needs which version of its one ring.
func NewKeyring(name string, users func(View) (map[uint32]int, error)) *Keyring {
	return &Keyring{name, users}
}

// A Ring is a named key in versions: the newest seals, all that are not
// retired open. Rings are made when they are first used, and never by a
// read.
type Ring struct {
	of   *Keyring
	name string
}

// Ring is the keyring's ring of a name; "" is the one that is named as the
// keyring.
func (k *Keyring) Ring(name string) Ring {
	if name == "" {
		return Ring{k, k.name}
	}
	return Ring{k, k.name + "/" + name}
}

// String is the name by which the operator calls the ring.
func (r Ring) String() string { return r.name }

// ringOf finds a ring by the name that the operator calls it.
func (l *Ledger) ringOf(name string) (Ring, error) {
	of, _, _ := strings.Cut(name, "/")
	k := l.keyrings[of]
	if k == nil {
		return Ring{}, fmt.Errorf("looking for key %.64q: %w", name, ErrNotFound)
	}
	return Ring{k, name}, nil
}

// ringKeySize is a version's key, in bytes.
const ringKeySize = 32

// ringEntry is a version in the database: two times, in seconds since 1970
// (retired: 0 is not), and the key, which a retired one has no longer.
type ringEntry struct {
	created, retired uint64
	key              secret.Bytes
}

func (r Ring) key(version uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(r.name), 0), version)
}

// ringVersion reads one version; false means that there is none.
func (v View) ringVersion(r Ring, version uint32) (e ringEntry, found bool, err error) {
	if v.l.keyrings[r.of.name] != r.of {
		panic("ledger: keyring " + r.of.name + " is not registered")
	}
	plain, found, err := v.Get(tableKeys, r.key(version))
	if err != nil || !found {
		return e, false, err
	}
	if len(plain) != 16 && len(plain) != 16+ringKeySize {
		return e, false, fmt.Errorf("reading key %s: %w", r, ErrUnverified)
	}
	e.created, e.retired = binary.BigEndian.Uint64(plain), binary.BigEndian.Uint64(plain[8:])
	e.key = secret.Own(plain[16:])
	return e, true, nil
}

func (t *Txn) saveRing(r Ring, version uint32, e ringEntry) error {
	plain := binary.BigEndian.AppendUint64(nil, e.created)
	plain = binary.BigEndian.AppendUint64(plain, e.retired)
	plain = append(plain, e.key.Reveal()...)
	defer clear(plain)
	return t.Put(tableKeys, r.key(version), plain)
}

// ringNewest is the highest version; 0 means that there is none.
func (v View) ringNewest(r Ring) (newest uint32) {
	prefix := append([]byte(r.name), 0)
	v.Scan(tableKeys, prefix, func(key []byte) bool {
		if !bytes.HasPrefix(key, prefix) || len(key) != len(prefix)+4 {
			return false
		}
		newest = binary.BigEndian.Uint32(key[len(prefix):])
		return true
	})
	return newest
}

// MakeRing makes a ring's first version if there is none yet.
func (t *Txn) MakeRing(r Ring) error {
	_, e, err := t.ringCurrent(r)
	e.key.Wipe()
	return err
}

// Newest is the version of a ring that seals.
func (v View) Newest(r Ring) uint32 { return v.ringNewest(r) }

// Fingerprint tells the key of a version from any other, also from one of
// the same number that was made after a restore.
func (v View) Fingerprint(r Ring, version uint32) (string, error) {
	e, found, err := v.ringVersion(r, version)
	defer e.key.Wipe()
	if err == nil && !found {
		err = fmt.Errorf("version %d of key %s: %w", version, r, ErrNotFound)
	}
	if err == nil && e.key.Len() == 0 {
		err = fmt.Errorf("%w: version %d of key %s is retired", ErrSealed, version, r)
	}
	if err != nil {
		return "", err
	}
	h := hmac.New(sha256.New, e.key.Reveal())
	h.Write([]byte("latchkey key fingerprint"))
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// ringCurrent is the version that seals, made if there is none yet.
func (t *Txn) ringCurrent(r Ring) (uint32, ringEntry, error) {
	newest := t.View.ringNewest(r)
	if newest == 0 {
		return t.ringRotate(r, "first use")
	}
	e, found, err := t.View.ringVersion(r, newest)
	if err == nil && (!found || e.key.Len() != ringKeySize) {
		err = fmt.Errorf("reading key %s: %w", r, ErrUnverified)
	}
	return newest, e, err
}

// ringRotate adds a version.
func (t *Txn) ringRotate(r Ring, who string) (uint32, ringEntry, error) {
	version := t.View.ringNewest(r) + 1
	e := ringEntry{created: uint64(time.Now().Unix()), key: secret.Random(ringKeySize)}
	t.Bump()
	if err := t.saveRing(r, version, e); err != nil {
		return 0, e, err
	}
	return version, e, t.Note(Event{Event: "key rotate", From: who, Detail: fmt.Sprintf("%s: version %d", r, version)})
}

// Seal seals with the current version: nonce ‖ AEAD. What binds it must
// hold the version, which seal learns first.
func (t *Txn) Seal(r Ring, plain secret.Bytes, aad func(version uint32) []byte) (uint32, []byte, error) {
	version, e, err := t.ringCurrent(r)
	if err != nil {
		return 0, nil, err
	}
	defer e.key.Wipe()
	nonce := secret.Random(12).Reveal()
	return version, AEAD(e.key.Reveal()).Seal(nonce, nonce, plain.Reveal(), aad(version)), nil
}

// ErrSealed is a blob that this KMS did not make, or not for this use.
var ErrSealed = errors.New("the blob does not open")

// Open opens what Seal made.
func (v View) Open(r Ring, version uint32, sealed, aad []byte) (secret.Bytes, error) {
	e, found, err := v.ringVersion(r, version)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer e.key.Wipe()

	switch {
	case !found:
		return secret.Bytes{}, fmt.Errorf("%w: there is no version %d of key %s", ErrSealed, version, r)
	case e.key.Len() != ringKeySize:
		return secret.Bytes{}, fmt.Errorf("%w: version %d of key %s is retired", ErrSealed, version, r)
	case len(sealed) < 12:
		return secret.Bytes{}, fmt.Errorf("%w: it is too short", ErrSealed)
	}

	plain, err := AEAD(e.key.Reveal()).Open(nil, sealed[:12], sealed[12:], aad)
	if err != nil {
		return secret.Bytes{}, ErrSealed
	}
	return secret.Own(plain), nil
}
