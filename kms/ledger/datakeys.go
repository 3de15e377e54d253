package ledger

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"latchkey/internal/secret"
	"latchkey/kms/store"
)

// ErrNoDataKey is a data key that another server added and that this one has
// not got yet.
var ErrNoDataKey = errors.New("this server does not have a data key that another one added: it could not ask for the wrapping key; start it again")

// A keyRow is the record keyWrapped of tableMeta: the data keys, each wrapped,
// oldest first. It is in the clear, and counted. In formats 1 and 2 it is the
// one wrapped key, as it is.
type keyRow struct {
	Sealing uint32       `json:"sealing"` // the id of the one that seals
	Keys    []wrappedKey `json:"keys"`
}

// A wrappedKey is one of them.
type wrappedKey struct {
	ID      uint32 `json:"id"`             // from 1 on; never given twice
	Made    int64  `json:"made,omitempty"` // in seconds since 1970; 0: with the KMS
	Print   string `json:"print"`          // 16 hex digits; none in formats 1 and 2
	Wrapped []byte `json:"wrapped"`
}

// firstRow is the length of the record in formats 1 and 2: nonce, key, tag.
const firstRow = nonceSize + 32 + 16

func (r keyRow) encode() []byte {
	if r.first() {
		return r.Keys[0].Wrapped
	}
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // numbers and bytes
	}
	return b
}

// first tells whether it is of format 1 or 2, which know one key.
func (r keyRow) first() bool { return len(r.Keys) == 1 && r.Keys[0].Print == "" }

// of finds one; nil if there is none.
func (r keyRow) of(id uint32) *wrappedKey {
	if i := slices.IndexFunc(r.Keys, func(k wrappedKey) bool { return k.ID == id }); i >= 0 {
		return &r.Keys[i]
	}
	return nil
}

// newest is the id of the last one.
func (r keyRow) newest() uint32 { return r.Keys[len(r.Keys)-1].ID }

// replacing is the id of the key that another takes the place of; 0: none.
func (r keyRow) replacing() uint32 {
	if len(r.Keys) < 2 {
		return 0
	}
	return r.Keys[0].ID
}

func readKeyRow(raw []byte) (r keyRow, err error) {
	if raw == nil {
		return r, fmt.Errorf("opening the data key: %w: there is none", ErrUnverified)
	}
	if len(raw) == firstRow {
		return keyRow{firstKey, []wrappedKey{{ID: firstKey, Wrapped: raw}}}, nil
	}
	unreadable := fmt.Errorf("reading the data keys: %w", ErrUnverified)
	if json.Unmarshal(raw, &r) != nil || len(r.Keys) == 0 || len(r.Keys) > 2 || r.of(r.Sealing) == nil {
		return r, unreadable
	}
	for i, k := range r.Keys {
		if k.ID == 0 || k.Print == "" || len(k.Wrapped) != firstRow || i > 0 && k.ID <= r.Keys[i-1].ID {
			return r, unreadable
		}
	}
	return r, nil
}

// follows tells whether a record may take the place of another: keys are
// added, and given up once another seals. One that is gone does not come back,
// and none takes the id of another.
func (r keyRow) follows(before keyRow) bool {
	if r.Sealing < before.Sealing {
		return false
	}
	return !slices.ContainsFunc(r.Keys, func(k wrappedKey) bool {
		old := before.of(k.ID)
		return old == nil && k.ID <= before.newest() || old != nil && old.Print != "" && old.Print != k.Print
	})
}

func printOf(key secret.Bytes) string {
	h := hmac.New(sha256.New, key.Reveal())
	h.Write([]byte("latchkey data key fingerprint"))
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// wrapAAD binds a wrapped key to its id. That of the first one was there
// before keys had any.
func wrapAAD(id uint32) []byte {
	if id == firstKey {
		return []byte("lk1/data key")
	}
	return fmt.Appendf(nil, "lk1/data key/%d", id)
}

func wrap(wrapping secret.Bytes, id uint32, key secret.Bytes) []byte {
	aead := AEAD(wrapping.Reveal())
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, key.Reveal(), wrapAAD(id))
}

// unwrap opens a data key.
func (k wrappedKey) unwrap(wrapping secret.Bytes) (secret.Bytes, error) {
	if len(k.Wrapped) != firstRow {
		return secret.Bytes{}, fmt.Errorf("opening the data key: %w", ErrUnverified)
	}
	plain, err := AEAD(wrapping.Reveal()).Open(nil, k.Wrapped[:nonceSize], k.Wrapped[nonceSize:], wrapAAD(k.ID))
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("opening the data key: %w", ErrWrappingKey)
	}
	key := secret.Own(plain)
	if k.Print != "" && printOf(key) != k.Print {
		key.Wipe()
		return secret.Bytes{}, fmt.Errorf("opening the data key: %w", ErrUnverified)
	}
	return key, nil
}

// A keychain is the data keys that this process has, whatever the store names. A
// state of the store is read with those that it names, and no others.
type keychain struct {
	mu     sync.Mutex
	keys   map[uint32]map[string]*dataKey // by id and fingerprint
	newest atomic.Pointer[vault]          // of the state that was read last
}

// add takes a key that was unwrapped.
func (c *keychain) add(id uint32, key secret.Bytes) error {
	k, err := newDataKey(id, key)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil {
		c.keys = map[uint32]map[string]*dataKey{}
	}
	if c.keys[id] == nil {
		c.keys[id] = map[string]*dataKey{}
	}
	if c.keys[id][k.print] == nil {
		c.keys[id][k.print] = k
	}
	c.newest.Store(nil)
	return nil
}

// unwrap takes all keys of a record.
func (c *keychain) unwrap(wrapping secret.Bytes, raw []byte) error {
	if wrapping.Len() != 32 {
		return fmt.Errorf("opening the data key: %w", ErrWrappingKey)
	}
	row, err := readKeyRow(raw)
	if err != nil {
		return err
	}
	for _, w := range row.Keys {
		key, err := w.unwrap(wrapping)
		if err != nil {
			return err
		}
		err = c.add(w.ID, key)
		key.Wipe()
		if err != nil {
			return err
		}
	}
	return nil
}

// at are the keys as a state names them.
func (c *keychain) at(raw []byte) *vault {
	if v := c.newest.Load(); v != nil && v.raw == string(raw) {
		return v
	}
	v := &vault{raw: string(raw), keys: map[uint32]*dataKey{}}
	if v.row, v.err = readKeyRow(raw); v.err != nil {
		return v
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range v.row.Keys {
		for print, k := range c.keys[w.ID] {
			if w.Print == "" || w.Print == print {
				v.keys[w.ID] = k
			}
		}
	}
	v.sealing = v.keys[v.row.Sealing]
	c.newest.Store(v)
	return v
}

// missing tells whether the store names a key that this process does not
// have.
func (v *vault) missing() bool { return v.err == nil && len(v.keys) < len(v.row.Keys) }

// view reads a state with the data keys that it names.
func (l *Ledger) view(r store.Reader) View {
	return View{r, l, l.chain.at(r.Get(tableMeta, keyWrapped))}
}

// learn asks for the wrapping key again, and opens the keys that others have
// added.
func (l *Ledger) learn(ctx context.Context, raw []byte) error {
	wrapping, err := l.askWrapping(ctx)
	if err == nil {
		defer wrapping.Wipe()
		err = l.chain.unwrap(wrapping, raw)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrNoDataKey, err)
	}
	return err
}

// askWrapping asks for the wrapping key again: it is not kept.
func (l *Ledger) askWrapping(ctx context.Context) (secret.Bytes, error) {
	if l.again == nil {
		return secret.Bytes{}, fmt.Errorf("asking for the wrapping key again: %w: nothing says where it is", ErrRefused)
	}
	key, err := l.again(ctx)
	if err != nil {
		return key, fmt.Errorf("asking for the wrapping key again: %w", err)
	}
	return key, nil
}
