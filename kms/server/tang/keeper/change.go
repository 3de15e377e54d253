package keeper

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"latchkey/kms/ledger"
)

// maxKeys bounds the keys of one client, and those of everybody: all of them
// are looked through to find one.
const maxKeys = 256

// maxClients bounds those that have keys of their own.
const maxClients = 10_000

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// made is whose keys are made, on which curve, and why.
type made struct{ of, curve, event, detail string }

// makeKeys makes a pair and says so.
func (k *Keeper) makeKeys(ctx context.Context, t *ledger.Txn, m made) error {
	if err := k.room(t.View, m.of, 2); err != nil {
		return err
	}
	t.Bump()
	all, err := k.rows.make(t, m.of, m.curve)
	if err != nil {
		return err
	}
	for _, one := range all {
		m.detail += "; made " + one.Key.Alg + " " + one.Key.Thumbprint()
	}
	return k.say(ctx, t, m.event, m.of, strings.TrimPrefix(m.detail, "; "))
}

// room refuses more keys than are looked through in good time.
func (k *Keeper) room(v ledger.View, of string, more int) error {
	n := more
	err := k.rows.each(v, of, func(key) error { n++; return nil })
	if err == nil && n > maxKeys {
		err = fmt.Errorf("%w: there would be %d keys, and %d may be; retire old ones", ledger.ErrRefused, n, maxKeys)
	}
	return err
}

// say writes what an operator did.
func (k *Keeper) say(ctx context.Context, t *ledger.Txn, event, of, detail string) error {
	return t.Note(ledger.Event{Event: event, Node: of, Status: "ok", From: ledger.Who(ctx), Detail: detail})
}

// Rotate does what tangd-rotate-keys does: no key that there is is advertised
// any more, and a new pair is. Who encrypted to the old ones is still
// answered.
func (k *Keeper) Rotate(ctx context.Context, of, curve string) error {
	return k.c.Ledger.Update(ctx, func(t *ledger.Txn) error {
		if err := k.there(t.View, of); err != nil {
			return err
		}
		all, err := k.rows.list(t.View, of)
		if err != nil {
			return err
		}
		now, detail := time.Now().UTC(), ""
		for _, row := range all {
			if row.Hidden != nil || row.Retired != nil {
				continue
			}
			row.Hidden = &now
			detail += "; hid " + row.Key.Thumbprint()
			if err := t.Save(k.rows.keys, row.at(), row); err != nil {
				return err
			}
		}
		return k.makeKeys(ctx, t, made{of, curve, "tang rotate", detail})
	})
}

// there refuses the name of a client that has no keys of its own.
func (k *Keeper) there(v ledger.View, of string) error {
	if of == "" || v.Has(k.rows.clients, []byte(of)) {
		return nil
	}
	return fmt.Errorf("looking for the client %.64q: %w", of, ledger.ErrNotFound)
}

// New makes keys for one client alone, to be had below /for/NAME.
func (k *Keeper) New(ctx context.Context, name, curve string, sources []netip.Prefix) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("a client's name has 1 to 63 lower-case letters, digits, - and ., not %.64q", name)
	}
	return k.c.Ledger.Update(ctx, func(t *ledger.Txn) error {
		if t.View.Has(k.rows.clients, []byte(name)) {
			return fmt.Errorf("%w: %s has keys already; to make new ones: latchkey-kms tang key rotate --for %s", ledger.ErrRefused, name, name)
		}
		if t.View.Count(k.rows.clients, maxClients) >= maxClients {
			return fmt.Errorf("%w: %d clients have keys of their own, and no more may", ledger.ErrRefused, maxClients)
		}
		if err := t.Save(k.rows.clients, []byte(name), client{Name: name, Created: time.Now().UTC(), Sources: sources}); err != nil {
			return err
		}
		return k.makeKeys(ctx, t, made{of: name, curve: curve, event: "tang new"})
	})
}

// Revoke refuses one client, or, with revoked unset, ends that. Its keys stay
// as they are, and can be retired.
func (k *Keeper) Revoke(ctx context.Context, name string, revoked bool) error {
	return k.c.Ledger.Update(ctx, func(t *ledger.Txn) error {
		var row client
		found, err := t.View.Load(k.rows.clients, []byte(name), &row)
		if err == nil && !found {
			err = k.there(t.View, name)
		}
		if err != nil {
			return err
		}
		if name == "" || row.Revoked == revoked {
			return fmt.Errorf("%w: that is so already", ledger.ErrRefused)
		}
		row.Revoked = revoked
		t.Bump()
		if err := t.Save(k.rows.clients, []byte(name), row); err != nil {
			return err
		}
		event := "tang readmit"
		if revoked {
			event = "tang revoke"
		}
		return k.say(ctx, t, event, name, "")
	})
}

// changes to one key say why they refuse.
var changes = map[string]func(k *Keeper, t *change, row *key) (why string, err error){
	"hide":     (*Keeper).hide,
	"show":     (*Keeper).show,
	"retire":   (*Keeper).retire,
	"undelete": (*Keeper).undelete,
}

// A change is one command to a key.
type change struct {
	*ledger.Txn
	by  string
	now bool // destroy at once what is retired
}

// Change does one of the operator's commands to a key: hide, show, retire,
// undelete. Now: what is retired is destroyed at once.
func (k *Keeper) Change(ctx context.Context, command, thumbprint string, now bool) error {
	do, ok := changes[command]
	if !ok {
		return fmt.Errorf("command %.20q: %w", command, ledger.ErrNotFound)
	}
	return k.c.Ledger.Update(ctx, func(t *ledger.Txn) error {
		row, found := key{}, 0
		err := k.rows.all(t.View, func(one key) error {
			if one.Key.Named(thumbprint) {
				row = one
				found++
			}
			return nil
		})
		if err == nil && found != 1 {
			err = fmt.Errorf("looking for the key %.86q: %w", thumbprint, ledger.ErrNotFound)
		}
		if err != nil {
			return err
		}
		t.Bump()
		why, err := do(k, &change{t, ledger.Who(ctx), now}, &row)
		if err == nil && why != "" {
			err = fmt.Errorf("%w: %s", ledger.ErrRefused, why)
		}
		if err != nil {
			return err
		}
		if err := t.Save(k.rows.keys, row.at(), row); err != nil {
			return err
		}
		return k.say(ctx, t, "tang "+command, row.Client, "key "+row.Key.Thumbprint())
	})
}

// hide: as if the file's name began with a dot. Clients cannot do without a
// key of each kind, so the last one stays.
func (k *Keeper) hide(t *change, row *key) (why string, err error) {
	if row.Retired != nil || row.Hidden != nil {
		return "it is not advertised", nil
	}
	signs, exchanges := 0, 0
	err = k.rows.each(t.View, row.Client, func(one key) error {
		if one.Hidden != nil || one.Retired != nil || one.Key.Thumbprint() == row.Key.Thumbprint() {
			return nil
		}
		if one.Key.Signs() {
			signs++
		}
		if one.Key.Exchanges() {
			exchanges++
		}
		return nil
	})
	if err == nil && (row.Key.Signs() && signs == 0 || row.Key.Exchanges() && exchanges == 0) {
		why = "it is the last of its kind that is advertised; rotate makes new ones and hides it"
	}
	now := time.Now().UTC()
	row.Hidden = &now
	return why, err
}

func (k *Keeper) show(_ *change, row *key) (why string, err error) {
	if row.Retired != nil || row.Hidden == nil {
		return "it is not hidden", nil
	}
	row.Hidden = nil
	return "", nil
}
