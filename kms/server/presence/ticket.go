package presence

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/attest"
	"latchkey/kms/server/policy"
)

// A Ticket is what a key server must remember of a machine that beats. It
// travels with the machine, closed to it and to all who listen, and is
// another text each time.
type Ticket struct {
	At    time.Time // when it was given out: what a beat with it proves
	Node  kms.NodeID
	Key   [attest.BeatKeySize]byte // that signs the machine's beats
	Boot  policy.Clock             // that the key is of
	Known secret.Bytes             // what answers are known by
}

// purpose keeps a ticket from being taken for something else.
const purpose = "lk1/beat-ticket"

// errTicket says no more: the sender learns nothing from it.
var errTicket = errors.New("the ticket is not ours, or is damaged")

// tickets closes and opens them with a key that all servers of a store have.
type tickets struct{ aead atomic.Pointer[cipher.AEAD] }

// ticketKeySize is that of AES-256, in bytes.
const ticketKeySize = 32

// Key has the key at hand: it reads it or, if there is none yet, makes it.
// Update runs a transaction.
func (k *tickets) Key(ctx context.Context, l *ledger.Ledger) error {
	if k.aead.Load() != nil {
		return nil
	}
	var plain []byte
	defer func() { clear(plain) }()
	read := func(v ledger.View) (err error) { plain, _, err = v.Get(table, keyTicket); return err }
	if err := l.Read(read); err != nil {
		return err
	}
	if plain == nil {
		err := l.Update(ctx, func(t *ledger.Txn) error {
			if err := read(t.View); err != nil || plain != nil {
				return err
			}
			fresh := secret.Random(ticketKeySize)
			defer fresh.Wipe()
			return t.Put(table, keyTicket, fresh.Reveal())
		})
		if err == nil {
			err = l.Read(read)
		}
		if err != nil {
			return err
		}
	}
	if len(plain) != ticketKeySize {
		return fmt.Errorf("reading the key of tickets: %w", ledger.ErrUnverified)
	}
	block, err := aes.NewCipher(plain)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	k.aead.Store(&aead)
	return nil
}

// Seal closes a ticket. Key comes before.
func (k *tickets) Seal(t *Ticket) []byte {
	plain := make([]byte, 0, 128)
	plain = binary.BigEndian.AppendUint64(plain, uint64(t.At.UnixMilli()))
	plain = append(append(plain, t.Node[:]...), t.Key[:]...)
	plain = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(plain, t.Boot.Reset), t.Boot.Restart)
	plain = append(plain, t.Known.Reveal()...)
	defer clear(plain)
	aead := *k.aead.Load()
	nonce := make([]byte, aead.NonceSize(), kms.MaxTicket)
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, plain, []byte(purpose))
}

// Open opens a ticket that a server of this store has closed.
func (k *tickets) Open(sealed []byte) (*Ticket, error) {
	aead := *k.aead.Load()
	if len(sealed) < aead.NonceSize() {
		return nil, errTicket
	}
	n := aead.NonceSize()
	b, err := aead.Open(nil, sealed[:n], sealed[n:], []byte(purpose))
	const fixed = 8 + 32 + attest.BeatKeySize + 8
	if err != nil || len(b) != fixed+kms.BeatKeySize {
		return nil, errTicket
	}
	t := &Ticket{At: time.UnixMilli(int64(binary.BigEndian.Uint64(b))), Node: kms.NodeID(b[8:40])}
	copy(t.Key[:], b[40:])
	boot := b[40+attest.BeatKeySize:]
	t.Boot = policy.Clock{Reset: binary.BigEndian.Uint32(boot), Restart: binary.BigEndian.Uint32(boot[4:])}
	t.Known = secret.Own(b[fixed:])
	return t, nil
}
