// Package keeper keeps the keys that clients of tang encrypt to, and decides
// who may have a point multiplied by which.
package keeper

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms/ledger"
	"latchkey/kms/server/tang"
)

// Rows are what a keeper keeps. Keys stand by client ‖ 0 ‖ thumbprint.
type Rows struct {
	keys    *ledger.Table // all but the private parts
	private *ledger.Table // the private parts, by the same keys
	clients *ledger.Table // by name: those that have keys of their own
	seen    *ledger.Table // by source: where clients asked from

	graves *ledger.Graveyard // in private
}

// NewRows makes rows to register with a ledger.
func NewRows() *Rows {
	private := ledger.NewTable("tang-private", ledger.Sealed)
	return &Rows{
		ledger.NewTable("tang-keys", ledger.Sealed), private,
		ledger.NewTable("tang-clients", ledger.Sealed), ledger.NewTable("tang-seen", ledger.Sealed), buried(private),
	}
}

// Tables are those to register.
func (r *Rows) Tables() []*ledger.Table {
	return []*ledger.Table{r.keys, r.private, r.clients, r.seen}
}

// key is one key without its private part. Its JOSE members are as tang's
// file has them.
type key struct {
	Client   string     `json:"for,omitempty"`
	Key      tang.Key   `json:"key"`
	Created  time.Time  `json:"created"`
	Imported bool       `json:"imported,omitempty"`
	Hidden   *time.Time `json:"hidden,omitempty"`  // since when it is not advertised
	Retired  *time.Time `json:"retired,omitempty"` // when it was destroyed
}

// client is one that has keys of its own.
type client struct {
	Name    string         `json:"name"`
	Created time.Time      `json:"created"`
	Sources []netip.Prefix `json:"sources,omitempty"` // if any: only from there
	Revoked bool           `json:"revoked,omitempty"`
}

// source is where some client asked from.
type source struct {
	First time.Time `json:"first"`
}

// at is where a key stands.
func (k key) at() []byte { return keyAt(k.Client, k.Key.Thumbprint()) }

func keyAt(client, thumbprint string) []byte {
	raw, err := base64.RawURLEncoding.DecodeString(thumbprint)
	if err != nil {
		panic(err) // it is ours
	}
	return append(append([]byte(client), 0), raw...)
}

// nameAt is whose key stands there, and its thumbprint.
func nameAt(at []byte) (client, thumbprint string) {
	of, raw, _ := bytes.Cut(at, []byte{0})
	return string(of), base64.RawURLEncoding.EncodeToString(raw)
}

// each calls f with the keys of a client, by thumbprint.
func (r *Rows) each(v ledger.View, of string, f func(key) error) (err error) {
	prefix := append([]byte(of), 0)
	v.Scan(r.keys, prefix, func(at []byte) bool {
		if !bytes.HasPrefix(at, prefix) {
			return false
		}
		var k key
		if _, err = v.Load(r.keys, at, &k); err == nil {
			err = f(k)
		}
		return err == nil
	})
	return err
}

// list has the keys of a client.
func (r *Rows) list(v ledger.View, of string) (all []key, err error) {
	err = r.each(v, of, func(k key) error {
		all = append(all, k)
		return nil
	})
	return all, err
}

// all calls f with the keys of all clients.
func (r *Rows) all(v ledger.View, f func(key) error) (err error) {
	v.Scan(r.keys, nil, func(at []byte) bool {
		var k key
		if _, err = v.Load(r.keys, at, &k); err == nil {
			err = f(k)
		}
		return err == nil
	})
	return err
}

// open reads a key's private part; false means that it is destroyed.
func (r *Rows) open(v ledger.View, k key) (tang.Private, bool, error) {
	d, found, err := v.Get(r.private, k.at())
	return tang.Private{Key: k.Key, D: secret.Own(d)}, found, err
}

// put keeps a new key.
func (r *Rows) put(t *ledger.Txn, k key, d secret.Bytes) error {
	if err := t.Put(r.private, k.at(), d.Reveal()); err != nil {
		return err
	}
	return t.Save(r.keys, k.at(), k)
}

// make puts a pair of keys, as tang makes it, of which that for the exchange
// is on a curve.
func (r *Rows) make(t *ledger.Txn, of, curve string) (made []key, err error) {
	sign, exchange, err := tang.Generate(curve)
	if err != nil {
		return nil, err
	}
	for _, p := range []tang.Private{sign, exchange} {
		k := key{Client: of, Key: p.Key, Created: time.Now().UTC()}
		if err == nil {
			err = r.put(t, k, p.D)
		}
		p.D.Wipe()
		made = append(made, k)
	}
	return made, err
}
