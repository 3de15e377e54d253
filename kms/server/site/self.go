package site

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
)

// tableSelf is what a site's server knows of itself.
var tableSelf = ledger.NewTable("site", ledger.Sealed)

// Keys of its rows. Of each machine there are two, by id behind the prefix.
var (
	keySelf     = []byte("self")
	keyCut      = []byte("cut")
	prefixHave  = []byte("have ")
	prefixGiven = []byte("given ")
)

// A Self is whose server this is, and how it finds the center.
type Self struct {
	Name    string   `json:"name"`
	Center  []string `json:"center"`
	Pins    []string `json:"pins"`
	Token   string   `json:"token,omitempty"` // until it has joined
	Bounds  Bounds   `json:"bounds"`
	Removed bool     `json:"removed,omitempty"` // by the center
	Refused string   `json:"refused,omitempty"` // by the center, and why
}

// A cut is what was given since the center was heard.
type cut struct {
	Heard    time.Time     `json:"heard"`    // when that was
	Seen     time.Time     `json:"seen"`     // the latest time that the wall clock showed since
	Spent    time.Duration `json:"spent"`    // of what the site may go on for
	Releases int           `json:"releases"` // to all machines
	Machines int           `json:"machines"` // that got any
}

// Become makes a new key server the server of a site: before it has served
// anybody.
func Become(ctx context.Context, l *ledger.Ledger, f JoinFile) error {
	if err := f.Check(time.Now()); err != nil {
		return err
	}
	return l.Update(ctx, func(t *ledger.Txn) error {
		if t.View.Has(tableSelf, keySelf) {
			return fmt.Errorf("joining site %s: %w: this is the server of a site already", f.Site, ledger.ErrRefused)
		}
		t.Bump()
		if err := t.Save(tableSelf, keySelf, Self{Name: f.Site, Center: f.Center, Pins: f.KMS, Token: f.Token}); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "site self", From: ledger.Who(ctx), Detail: f.Site})
	})
}

// SelfOf reads whose server this is; false: it is no site's.
func SelfOf(v ledger.View) (s Self, found bool, err error) {
	found, err = v.Load(tableSelf, keySelf, &s)
	return s, found, err
}

// keyOf is a machine's row.
func keyOf(prefix []byte, id kms.NodeID) []byte { return append(bytes.Clone(prefix), id[:]...) }

// keysOf are the rows of all machines.
func keysOf(v ledger.View, prefix []byte) (ids []kms.NodeID) {
	v.Scan(tableSelf, prefix, func(key []byte) bool {
		id, ok := bytes.CutPrefix(key, prefix)
		if ok && len(id) == len(kms.NodeID{}) {
			ids = append(ids, kms.NodeID(id))
		}
		return ok
	})
	return ids
}

// haves are the copies that are here.
func haves(v ledger.View) (map[kms.NodeID]mark, error) {
	have := map[kms.NodeID]mark{}
	for _, id := range keysOf(v, prefixHave) {
		raw, _, err := v.Get(tableSelf, keyOf(prefixHave, id))
		if err != nil || len(raw) != len(mark{}) {
			return nil, cmpErr(err, ledger.ErrUnverified)
		}
		have[id] = mark(raw)
	}
	return have, nil
}

func givenTo(v ledger.View, id kms.NodeID) (int, error) {
	raw, found, err := v.Get(tableSelf, keyOf(prefixGiven, id))
	if err != nil || !found || len(raw) != 4 {
		return 0, err
	}
	return int(binary.BigEndian.Uint32(raw)), nil
}

func setGiven(t *ledger.Txn, id kms.NodeID, n int) error {
	return t.Put(tableSelf, keyOf(prefixGiven, id), binary.BigEndian.AppendUint32(nil, uint32(n)))
}

func loadCut(v ledger.View) (c cut, err error) {
	_, err = v.Load(tableSelf, keyCut, &c)
	return c, err
}
