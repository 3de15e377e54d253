package ledger

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"latchkey/internal/secret"
)

// ErrUnverified is a database whose contents are not what this KMS wrote:
// edited, swapped, or written under another key.
var ErrUnverified = errors.New("the database cannot be verified")

// The first byte of every sealed record. Records of version 1 are of the
// first data key; later ones name theirs in four bytes after the version.
const (
	recordFirst = 1
	recordKeyed = 2
)

// The heads of records: version, id of the data key (not in version 1),
// epoch, state, nonce.
const (
	nonceSize = 12
	firstHead = 1 + 8 + 1 + nonceSize
	keyedHead = 1 + 4 + 8 + 1 + nonceSize
)

// firstKey is the id of the data key that a KMS begins with.
const firstKey = 1

// A dataKey is what is derived from one data key.
type dataKey struct {
	id      uint32
	print   string // 16 hex digits that tell it from any other
	records cipher.AEAD
	set     []byte // keys the digest over all records
	name    []byte // what the KMS is called, if this is its first key

	made   atomic.Uint64 // seals of this process
	others atomic.Uint64 // of the other servers, as of the last look
	first  sync.Once     // sets before
	before atomic.Uint64 // of this server, before this process began
}

func newDataKey(id uint32, key secret.Bytes) (*dataKey, error) {
	expand := func(info string, size int) ([]byte, error) { return hkdf.Expand(sha256.New, key.Reveal(), info, size) }
	records, err := expand("latchkey kms records", 32)
	if err != nil {
		return nil, err
	}
	defer clear(records)
	set, err := expand("latchkey kms record set", 32)
	if err != nil {
		return nil, err
	}
	name, err := expand("latchkey kms name", nameSize)
	if err != nil {
		return nil, err
	}
	return &dataKey{id: id, print: printOf(key), records: AEAD(records), set: set, name: name}, nil
}

// AEAD is AES-256-GCM with a key of 32 bytes.
func AEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the length is ours
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return gcm
}

// place is where a record stands: its envelope holds it there.
type place struct {
	table string
	key   []byte
	state byte // 0, or what the table's kind takes from the key
}

// aad is what binds a record: of its head all but the nonce.
func (p place) aad(head []byte) []byte {
	aad := append([]byte("lk1/record"), head[:len(head)-nonceSize]...)
	aad = append(aad, byte(len(p.table)))
	return append(append(aad, p.table...), p.key...)
}

// A vault is the data keys as one state of the store names them: it opens
// what is sealed with any of them, and seals with one.
type vault struct {
	raw     string // the record that names them
	row     keyRow
	keys    map[uint32]*dataKey // those that this server has
	sealing *dataKey            // nil if this server does not have it
	err     error               // of a record that cannot be read
}

// seal seals with the key that seals. That there is one is seen to before a
// transaction begins.
func (v *vault) seal(p place, epoch uint64, plain []byte) []byte {
	k := v.sealing
	head := make([]byte, 0, keyedHead+len(plain)+16)
	if v.row.first() {
		head = append(head, recordFirst)
	} else {
		head = binary.BigEndian.AppendUint32(append(head, recordKeyed), k.id)
	}
	head = append(binary.BigEndian.AppendUint64(head, epoch), p.state)
	head = head[:len(head)+nonceSize]
	nonce := head[len(head)-nonceSize:]
	rand.Read(nonce)
	k.made.Add(1)
	return k.records.Seal(head, nonce, plain, p.aad(head))
}

// keyOf is the id of the data key with which a record says that it is sealed,
// and how long its head is; false if it is no sealed record.
func keyOf(sealed []byte) (id uint32, head int, is bool) {
	switch {
	case len(sealed) >= firstHead && sealed[0] == recordFirst:
		return firstKey, firstHead, true
	case len(sealed) >= keyedHead && sealed[0] == recordKeyed:
		return binary.BigEndian.Uint32(sealed[1:]), keyedHead, true
	}
	return 0, 0, false
}

// has is a key of this state.
func (v *vault) has(id uint32) (*dataKey, error) {
	if v.err != nil {
		return nil, v.err
	}
	if k := v.keys[id]; k != nil {
		return k, nil
	}
	if v.row.of(id) != nil {
		return nil, fmt.Errorf("data key %d: %w", id, ErrNoDataKey)
	}
	return nil, fmt.Errorf("%w: a record is sealed with data key %d, which is not of this database any more", ErrUnverified, id)
}

// open returns the record's plain text and the epoch in which it was
// written.
func (v *vault) open(p place, sealed []byte) ([]byte, uint64, error) {
	id, size, is := keyOf(sealed)
	if !is || sealed[size-nonceSize-1] != p.state {
		return nil, 0, fmt.Errorf("opening a record of %s: %w", p.table, ErrUnverified)
	}
	k, err := v.has(id)
	if err != nil {
		return nil, 0, fmt.Errorf("opening a record of %s: %w", p.table, err)
	}
	head := sealed[:size]
	plain, err := k.records.Open(nil, head[size-nonceSize:], sealed[size:], p.aad(head))
	if err != nil {
		return nil, 0, fmt.Errorf("opening a record of %s: %w", p.table, ErrUnverified)
	}
	return plain, binary.BigEndian.Uint64(head[size-nonceSize-9:]), nil
}

// digest is what one record adds to the digest over all: they are combined
// by XOR, so that a write needs to know only its own record. Keyed, and
// itself sealed, it cannot be made to fit other contents; it finds the
// record that was removed, or put back from an older copy. It is keyed by the
// data key that the record names, so that a key that is given up counts for
// nothing; what is not sealed counts under the key that seals.
func (v *vault) digest(table string, key, sealed []byte) (sum [32]byte, err error) {
	if v.err != nil {
		return sum, v.err
	}
	under := v.sealing
	if id, _, is := keyOf(sealed); is && !plainMeta(table, key) {
		if under, err = v.has(id); err != nil {
			return sum, fmt.Errorf("counting a record of %s: %w", table, err)
		}
	}
	if under == nil {
		return sum, fmt.Errorf("counting a record of %s: %w", table, ErrNoDataKey)
	}
	h := hmac.New(sha256.New, under.set)
	h.Write([]byte{byte(len(table))})
	h.Write([]byte(table))
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(key))))
	h.Write(key)
	h.Write(sealed)
	h.Sum(sum[:0])
	return sum, nil
}

// count adds a record to a digest over all, or takes it out.
func (v *vault) count(set *[32]byte, table string, key, sealed []byte) error {
	sum, err := v.digest(table, key, sealed)
	if err == nil {
		xor(set, sum)
	}
	return err
}
