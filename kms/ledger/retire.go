package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"latchkey/internal/secret"
)

// ringGraves are of versions that were retired, by their keys in the table;
// what is kept is when the version was made, in seconds since 1970, and its
// key.
var ringGraves = &Graveyard{Table: tableKeys, Event: "key destroy", Mine: func(key []byte) bool { return !isSigning(key) }, Destroy: func(_ *Txn, key []byte, _ Grave) (Event, error) {
	return Event{Detail: ringVersionName(key)}, nil
}}

// ringVersionName is what the audit log calls a version, by its key.
func ringVersionName(key []byte) string {
	ring, version, _ := bytes.Cut(key, []byte{0})
	if len(version) != 4 {
		return string(ring)
	}
	return fmt.Sprintf("%s: version %d", ring, binary.BigEndian.Uint32(version))
}

// until is when something that was deleted is destroyed; nil if it is not
// kept.
func (v View) until(y *Graveyard, key []byte) (*time.Time, error) {
	g, found, err := v.Buried(y, key)
	clear(g.Kept)
	if err != nil || !found {
		return nil, err
	}
	return &g.Until, nil
}

// RetireKey takes a version that is not the current one out of use: what it
// sealed opens no longer, anywhere. It can be had again for the grace; now, or
// without a grace, its key is destroyed, also of one that was retired before.
func (l *Ledger) RetireKey(ctx context.Context, name string, version uint32, now bool) ([]KeyVersion, error) {
	return l.changeVersion(ctx, name, version, func(t *Txn, r Ring, e ringEntry) (Event, error) {
		grave, err := t.View.until(ringGraves, r.key(version))
		switch {
		case err != nil:
			return Event{}, err
		case version == t.View.ringNewest(r):
			return Event{}, fmt.Errorf("retiring version %d of key %s: %w: it is the current one; rotate first", version, r, ErrRefused)
		case e.retired != 0 && (!now || grave == nil):
			return Event{}, fmt.Errorf("retiring version %d of key %s: %w: it is retired already", version, r, ErrRefused)
		}

		event := Event{Event: "key retire", Detail: ringVersionName(r.key(version))}
		if e.retired != 0 {
			event.Detail += ", destroyed"
			return event, t.Unbury(ringGraves, r.key(version))
		}
		if !now && l.Grace() > 0 {
			kept := append(binary.BigEndian.AppendUint64(nil, e.created), e.key.Reveal()...)
			defer clear(kept)
			if err := t.Bury(ringGraves, r.key(version), kept, Who(ctx)); err != nil {
				return event, err
			}
		}
		return event, t.saveRing(r, version, ringEntry{created: e.created, retired: uint64(time.Now().Unix())})
	})
}

// UndeleteKey gives back a version that was retired, within its grace: it
// opens again what it sealed.
func (l *Ledger) UndeleteKey(ctx context.Context, name string, version uint32) ([]KeyVersion, error) {
	return l.changeVersion(ctx, name, version, func(t *Txn, r Ring, _ ringEntry) (Event, error) {
		g, found, err := t.View.Buried(ringGraves, r.key(version))
		defer clear(g.Kept)
		if err == nil && !found {
			err = fmt.Errorf("undeleting version %d of key %s: %w: it was not retired, or is destroyed", version, r, ErrNotFound)
		}
		if err == nil && len(g.Kept) != 8+ringKeySize {
			err = fmt.Errorf("undeleting version %d of key %s: %w", version, r, ErrUnverified)
		}
		if err != nil {
			return Event{}, err
		}
		if err := t.Unbury(ringGraves, r.key(version)); err != nil {
			return Event{}, err
		}
		e := ringEntry{created: binary.BigEndian.Uint64(g.Kept), key: secret.Own(bytes.Clone(g.Kept[8:]))}
		defer e.key.Wipe()
		return Event{Event: "key undelete", Detail: ringVersionName(r.key(version))}, t.saveRing(r, version, e)
	})
}

// changeVersion changes a version that there is, and notes it.
func (l *Ledger) changeVersion(ctx context.Context, name string, version uint32, change func(*Txn, Ring, ringEntry) (Event, error)) ([]KeyVersion, error) {
	r, err := l.ringOf(name)
	if err != nil {
		return nil, err
	}
	err = l.Update(ctx, func(t *Txn) error {
		e, found, err := t.View.ringVersion(r, version)
		defer e.key.Wipe()
		if err == nil && !found {
			err = fmt.Errorf("version %d of key %s: %w", version, r, ErrNotFound)
		}
		if err != nil {
			return err
		}
		t.Bump()
		event, err := change(t, r, e)
		if err != nil {
			return err
		}
		event.From = Who(ctx)
		return t.Note(event)
	})
	if err != nil {
		return nil, err
	}
	return l.Keys(name)
}
