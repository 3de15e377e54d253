package ledger

import (
	"context"
	"time"
)

// A KeyVersion is one version as the operator sees it: never its bytes.
type KeyVersion struct {
	Ring    string     `json:"ring"`
	Version uint32     `json:"version"`
	Created time.Time  `json:"created"`
	Retired *time.Time `json:"retired,omitempty"`
	Until   *time.Time `json:"until,omitempty"` // of one that is retired: when it is destroyed; not given: it is
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
			if !found {
				continue
			}
			one := e.present(r, version, newest, users[version])
			if one.Until, err = v.until(ringGraves, r.key(version)); err != nil {
				return err
			}
			out = append(out, one)
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
