package lk1

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
)

// Lifetimes of what travels in cookies, and of the keys that close them.
const (
	challengeLife = 30 * time.Second
	reportLife    = 10 * time.Minute
	keyLife       = 10 * time.Minute // two keys are accepted
)

// Purposes keep one kind of cookie from being taken for the other.
const (
	forRedeem = "lk1/cookie"
	forReport = "lk1/report-cookie"
	forLog    = "lk1/evidence-cookie"
)

// errCookie says no more: the sender learns nothing from it.
var errCookie = errors.New("the cookie is not ours, or no longer")

// cookies closes and opens cookies. Its keys live in memory only: after a
// restart a node needs a new challenge. Replicas share theirs (replica.go).
type cookies struct {
	clock  *ledger.Clock // of all expiries
	shared bool          // with other replicas: the keys come from the store
	mu     sync.Mutex
	ring   []cookieKey // newest first
}

// A cookieKey closes cookies while it is the newest, and opens them while
// it is in the ring.
type cookieKey struct {
	id   uint64        // rises from key to key
	born time.Duration // on the ledger's clock
	aead cipher.AEAD
	kem  func() kemKey // made when it is wanted
	dh   func() dhKey  // likewise
}

// ringSize is how many keys are accepted.
const ringSize = 2

// keys are those that count; where they are nobody else's, they rotate when
// it is time.
func (c *cookies) keys() []cookieKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.clock.Now(); !c.shared && (len(c.ring) == 0 || now-c.ring[0].born >= keyLife) {
		fresh := secret.Random(32)
		c.ring = append([]cookieKey{newCookieKey(cookieKey{born: now}, fresh)}, c.ring...)
		c.ring = c.ring[:min(len(c.ring), ringSize)]
		fresh.Wipe()
	}
	if last := len(c.ring) - 1; !c.shared && last > 0 && c.clock.Now()-c.ring[last].born >= 2*keyLife {
		return c.ring[:last]
	}
	return c.ring
}

// newest closes cookies.
func (c *cookies) newest() cookieKey { return c.keys()[0] }

func (k cookieKey) seal(purpose string, plain []byte) []byte {
	key := k.aead
	nonce := make([]byte, key.NonceSize(), key.NonceSize()+len(plain)+key.Overhead())
	rand.Read(nonce)
	return key.Seal(nonce, nonce, plain, []byte(purpose))
}

// open also tells which key a cookie was closed with.
func (c *cookies) open(purpose string, cookie []byte) (plain []byte, key cookieKey, err error) {
	for _, k := range c.keys() {
		if n := k.aead.NonceSize(); len(cookie) >= n {
			if plain, err := k.aead.Open(nil, cookie[:n], cookie[n:], []byte(purpose)); err == nil {
				return plain, k, nil
			}
		}
	}
	return nil, cookieKey{}, errCookie
}

// ticket is what the KMS must remember between M2 and M3.
type ticket struct {
	th1, th2  [32]byte
	s         secret.Bytes // what the TPM must open
	x25519    secret.Bytes // our private key
	peer      [32]byte     // the node's X25519 public key, from M1
	node      kms.NodeID
	akPublic  []byte
	ekPublic  []byte // with ekCert
	ekCert    []byte // where enrollment looks at it; else empty
	operation kms.Operation
	volumes   []kms.Want
	expiry    time.Duration // on the ledger's clock
	selection []int         // PCRs that were asked for
	key       cookieKey     // the cookie's, not part of it
}

func (t *ticket) wipe() {
	t.s.Wipe()
	t.x25519.Wipe()
}

func (t *ticket) encode() []byte {
	w := kms.NewWriter(kms.MaxCookie)
	w.Field(t.th1[:])
	w.Field(t.th2[:])
	w.Field(t.s.Reveal())
	w.Field(t.x25519.Reveal())
	w.Field(t.peer[:])
	w.Field(t.node[:])
	w.Field(t.akPublic)
	w.Field(t.ekPublic)
	w.Field(t.ekCert)
	w.Byte(byte(t.operation))
	kms.WriteWants(w, t.volumes)
	w.Uint64(uint64(t.expiry))
	if !slices.Equal(t.selection, usualPCRs) { // as a rule it costs no byte
		w.Field(bytesOfPCRs(t.selection))
	}
	return w.Bytes()
}

func bytesOfPCRs(pcrs []int) (b []byte) {
	for _, pcr := range pcrs {
		b = append(b, byte(pcr))
	}
	return b
}

// seal closes it with its key.
func (t *ticket) seal() []byte {
	plain := t.encode()
	defer clear(plain)
	return t.key.seal(forRedeem, plain)
}

func (c *cookies) openTicket(cookie []byte) (*ticket, error) {
	plain, key, err := c.open(forRedeem, cookie)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	r, t := kms.NewReader(plain), &ticket{key: key}
	t.th1 = [32]byte(r.Exact("th1", 32))
	t.th2 = [32]byte(r.Exact("th2", 32))
	t.s = secret.Own(bytes.Clone(r.Exact("S", 32)))
	t.x25519 = secret.Own(bytes.Clone(r.Exact("X25519 key", 32)))
	t.peer = [32]byte(r.Exact("peer key", 32))
	t.node = kms.NodeID(r.Exact("node", 32))
	t.akPublic = bytes.Clone(r.Field("AK public area", 1024))
	t.ekPublic = bytes.Clone(r.Field("EK public area", 1024))
	t.ekCert = bytes.Clone(r.Field("EK certificate", 4096))
	t.operation = kms.Operation(r.Byte("operation"))
	t.volumes = kms.ReadWants(r)
	t.expiry = time.Duration(r.Uint64("expiry"))
	t.selection = usualPCRs
	if r.More() {
		t.selection = nil
		for _, pcr := range r.Field("selection", 24) {
			t.selection = append(t.selection, int(pcr))
		}
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("opening a cookie: %w", err)
	}

	if c.clock.Now() >= t.expiry {
		return nil, errCookie
	}
	return t, nil
}

// receipt is what the KMS must remember between M4 and M5.
type receipt struct {
	key       secret.Bytes // k_m5
	th3       [32]byte
	node      kms.NodeID
	volumes   []kms.Want
	rotations []uint64      // that were under way, by the volume's index; 0: none
	expiry    time.Duration // on the ledger's clock
}

func (c *cookies) sealReceipt(t *receipt) []byte {
	w := kms.NewWriter(kms.MaxReportCookie)
	w.Field(t.key.Reveal())
	w.Field(t.th3[:])
	w.Field(t.node[:])
	kms.WriteWants(w, t.volumes)
	w.Uint64(uint64(t.expiry))
	if slices.ContainsFunc(t.rotations, func(one uint64) bool { return one != 0 }) { // as a rule it costs no byte
		for _, one := range t.rotations {
			w.Uint64(one)
		}
	}
	defer clear(w.Bytes())
	return c.newest().seal(forReport, w.Bytes())
}

func (c *cookies) openReceipt(cookie []byte) (*receipt, error) {
	plain, _, err := c.open(forReport, cookie)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	r, t := kms.NewReader(plain), &receipt{}
	t.key = secret.Own(bytes.Clone(r.Exact("key", 32)))
	t.th3 = [32]byte(r.Exact("th3", 32))
	t.node = kms.NodeID(r.Exact("node", 32))
	t.volumes = kms.ReadWants(r)
	t.expiry = time.Duration(r.Uint64("expiry"))
	t.rotations = make([]uint64, len(t.volumes))
	for i := range t.rotations {
		if !r.More() {
			break
		}
		t.rotations[i] = r.Uint64("rotation")
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("opening a cookie: %w", err)
	}

	if c.clock.Now() >= t.expiry {
		return nil, errCookie
	}
	return t, nil
}
