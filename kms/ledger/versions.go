package ledger

import (
	"context"
	"fmt"
	"time"
)

// A KeyVersion is one version as the operator sees it: never its bytes.
type KeyVersion struct {
	Ring    string     `json:"ring"`
	Version uint32     `json:"version"`
	Created time.Time  `json:"created"`
	Retired *time.Time `json:"retired,omitempty"`
	Current bool       `json:"current"`
	Users   int        `json:"users"` // machines that used it within the last 30 days, where that is known
}

// Keys lists the versions of a ring.
func (l *Ledger) Keys(name string) (out []KeyVersion, err error) {
	r, err := l.ringOf(name)
	if err != nil {
		return nil, err
	}
	err = l.Read(func(v View) error {
		newest := v.ringNewest(r)
		users, err := v.users(r)
		if err != nil {
			return err
		}

		for version := uint32(1); version <= newest; version++ {
			e, found, err := v.ringVersion(r, version)
			if err != nil {
				return err
			}
			e.key.Wipe()
			if found {
				out = append(out, e.present(r, version, newest, users[version]))
			}
		}

		return nil
	})
	return out, err
}

func (e ringEntry) present(r Ring, version, newest uint32, users int) KeyVersion {
	k := KeyVersion{Ring: r.name, Version: version, Created: time.Unix(int64(e.created), 0).UTC(), Current: version == newest, Users: users}
	if e.retired != 0 {
		at := time.Unix(int64(e.retired), 0).UTC()
		k.Retired = &at
	}
	return k
}

// users counts who needs each version, where that is known.
func (v View) users(r Ring) (map[uint32]int, error) {
	if r.of.users == nil || r.name != r.of.name {
		return nil, nil
	}
	return r.of.users(v)
}

// RotateKey adds a version to a ring: from now on it seals.
func (l *Ledger) RotateKey(ctx context.Context, name string) ([]KeyVersion, error) {
	r, err := l.ringOf(name)
	if err != nil {
		return nil, err
	}
	err = l.Update(ctx, func(t *Txn) error {
		_, e, err := t.ringRotate(r, Who(ctx))
		e.key.Wipe()
		return err
	})
	if err != nil {
		return nil, err
	}
	return l.Keys(name)
}

// RetireKey destroys a version that is not the current one: what it sealed
// opens no longer, anywhere.
func (l *Ledger) RetireKey(ctx context.Context, name string, version uint32) ([]KeyVersion, error) {
	r, err := l.ringOf(name)
	if err != nil {
		return nil, err
	}
	err = l.Update(ctx, func(t *Txn) error {
		e, found, err := t.View.ringVersion(r, version)
		defer e.key.Wipe()
		switch {
		case err != nil:
			return err
		case !found:
			return fmt.Errorf("version %d of key %s: %w", version, r, ErrNotFound)
		case version == t.View.ringNewest(r):
			return fmt.Errorf("retiring version %d of key %s: %w: it is the current one; rotate first", version, r, ErrRefused)
		case e.retired != 0:
			return fmt.Errorf("retiring version %d of key %s: %w: it is retired already", version, r, ErrRefused)
		}

		t.Bump()
		gone := ringEntry{created: e.created, retired: uint64(time.Now().Unix())}
		if err := t.saveRing(r, version, gone); err != nil {
			return err
		}

		return t.Note(Event{Event: "key retire", From: Who(ctx), Detail: fmt.Sprintf("%s: version %d", r, version)})
	})
	if err != nil {
		return nil, err
	}

	return l.Keys(name)
}
