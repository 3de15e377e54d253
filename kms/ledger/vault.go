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

	"latchkey/internal/secret"
)

// ErrUnverified is a database whose contents are not what this KMS wrote:
// edited, swapped, or written under another key.
var ErrUnverified = errors.New("the database cannot be verified")

// recordVersion is the first byte of every sealed record.
const recordVersion = 1

// recordHead is version, epoch, state, nonce.
const recordHead = 1 + 8 + 1 + 12

// A vault seals records with keys derived from the data key.
type vault struct {
	records cipher.AEAD
	set     []byte // keys the digest over all records
	name    []byte // 8 bytes that tell this KMS from others, whatever keys it signs with
}

func newVault(dataKey secret.Bytes) (*vault, error) {
	key, err := hkdf.Expand(sha256.New, dataKey.Reveal(), "latchkey kms records", 32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	set, err := hkdf.Expand(sha256.New, dataKey.Reveal(), "latchkey kms record set", 32)
	if err != nil {
		return nil, err
	}
	name, err := hkdf.Expand(sha256.New, dataKey.Reveal(), "latchkey kms name", 8)
	if err != nil {
		return nil, err
	}
	return &vault{AEAD(key), set, name}, nil
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

func (p place) aad(head []byte) []byte {
	aad := append([]byte("lk1/record"), head[:1+8+1]...)
	aad = append(aad, byte(len(p.table)))
	return append(append(aad, p.table...), p.key...)
}

func (v *vault) seal(p place, epoch uint64, plain []byte) []byte {
	head := make([]byte, recordHead, recordHead+len(plain)+16)
	head[0] = recordVersion
	binary.BigEndian.PutUint64(head[1:], epoch)
	head[9] = p.state
	rand.Read(head[10:])
	return v.records.Seal(head, head[10:recordHead], plain, p.aad(head))
}

// open returns the record's plain text and the epoch in which it was
// written.
func (v *vault) open(p place, sealed []byte) ([]byte, uint64, error) {
	if len(sealed) < recordHead || sealed[0] != recordVersion || sealed[9] != p.state {
		return nil, 0, fmt.Errorf("opening a record of %s: %w", p.table, ErrUnverified)
	}
	plain, err := v.records.Open(nil, sealed[10:recordHead], sealed[recordHead:], p.aad(sealed))
	if err != nil {
		return nil, 0, fmt.Errorf("opening a record of %s: %w", p.table, ErrUnverified)
	}
	return plain, binary.BigEndian.Uint64(sealed[1:]), nil
}

// digest is what one record adds to the digest over all: they are combined
// by XOR, so that a write needs to know only its own record. Keyed, and
// itself sealed, it cannot be made to fit other contents; it finds the
// record that was removed, or put back from an older copy.
func (v *vault) digest(table string, key, sealed []byte) (sum [32]byte) {
	h := hmac.New(sha256.New, v.set)
	h.Write([]byte{byte(len(table))})
	h.Write([]byte(table))
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(key))))
	h.Write(key)
	h.Write(sealed)
	h.Sum(sum[:0])
	return sum
}
