package keeper

import (
	"fmt"
	"time"

	"latchkey/kms/ledger"
)

// buried makes the graves of retired keys, which are by the keys' own; what
// is kept is the private part.
func buried(private *ledger.Table) *ledger.Graveyard {
	return &ledger.Graveyard{Table: private, Event: "tang destroy", Destroy: func(_ *ledger.Txn, at []byte, _ ledger.Grave) (ledger.Event, error) {
		of, thumbprint := nameAt(at)
		return ledger.Event{Node: of, Detail: "key " + thumbprint}, nil
	}}
}

// Graveyards are those to register.
func (r *Rows) Graveyards() []*ledger.Graveyard { return []*ledger.Graveyard{r.graves} }

// until is when a retired key is destroyed; nil if it is not kept.
func (r *Rows) until(v ledger.View, k key) (*time.Time, error) {
	if k.Retired == nil {
		return nil, nil
	}
	g, found, err := v.Buried(r.graves, k.at())
	clear(g.Kept)
	if err != nil || !found {
		return nil, err
	}
	return &g.Until, nil
}

// retire takes a key out of use: what was encrypted to it is lost, unless it
// is undeleted within the grace.
func (k *Keeper) retire(t *change, row *key) (why string, err error) {
	until, err := k.rows.until(t.View, *row)
	if err != nil {
		return "", err
	}
	var of client
	if _, err := t.View.Load(k.rows.clients, []byte(row.Client), &of); err != nil {
		return "", err
	}
	switch {
	case row.Retired != nil && t.now && until != nil:
		return "", t.Unbury(k.rows.graves, row.at())
	case row.Retired != nil:
		return "it is retired already", nil
	case row.Hidden == nil && !of.Revoked:
		return "clients are still told of it; hide it first, or rotate", nil
	}
	if !t.now && k.c.Ledger.Grace() > 0 {
		d, _, err := t.View.Get(k.rows.private, row.at())
		defer clear(d)
		if err != nil {
			return "", err
		}
		if err := t.Bury(k.rows.graves, row.at(), d, t.by); err != nil {
			return "", err
		}
	}
	now := time.Now().UTC()
	row.Retired = &now
	return "", t.Remove(k.rows.private, row.at())
}

// undelete gives back a retired key, which is hidden then, or its client
// revoked, as before.
func (k *Keeper) undelete(t *change, row *key) (why string, err error) {
	g, found, err := t.View.Buried(k.rows.graves, row.at())
	defer clear(g.Kept)
	switch {
	case err != nil:
		return "", err
	case row.Retired == nil:
		return "it is not retired", nil
	case !found:
		return "", fmt.Errorf("undeleting the key %s: %w: it is destroyed", row.Key.Thumbprint(), ledger.ErrNotFound)
	}
	row.Retired = nil
	if err := t.Unbury(k.rows.graves, row.at()); err != nil {
		return "", err
	}
	return "", t.Put(k.rows.private, row.at(), g.Kept)
}
