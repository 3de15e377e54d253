package ledger

import (
	"context"
	"time"
)

// Looks after the data key: so often, and so soon again while one is being
// changed.
const (
	keysLook   = 15 * time.Second
	keysLookOn = time.Second
)

// WatchDataKeys gets keys that other servers added, goes on with a change of
// the data key, and sees that none seals too often, until ctx ends.
func (l *Ledger) WatchDataKeys(ctx context.Context) {
	for ctx.Err() == nil {
		wait := keysLook
		if l.lookAtKeys(ctx) {
			wait = keysLookOn
		}
		select {
		case <-ctx.Done():
		case <-l.rekeying.wake:
		case <-time.After(wait):
		}
	}
}

// wakeRekeying has the keys looked at soon.
func (l *Ledger) wakeRekeying() {
	select {
	case l.rekeying.wake <- struct{}{}:
	default:
	}
}

// lookAtKeys does what is due, and tells whether a key is being changed.
func (l *Ledger) lookAtKeys(ctx context.Context) (changing bool) {
	err := l.getKeys(ctx)
	if err == nil {
		err = l.lookAtUse(ctx)
	}
	var mine bool
	if err == nil {
		changing, mine, err = l.ChangingDataKey()
	}
	if err == nil && mine {
		var r Rekeying
		if r, err = l.GoOn(ctx); err == nil && r.From == 0 {
			l.log.Info("the data key was changed", "key", r.To)
		}
		changing = err == nil && r.From != 0
	}
	if err != nil && ctx.Err() == nil {
		l.log.Warn("the data key; it is tried again in a quarter of a minute", "err", err)
		return false
	}
	return changing
}

// getKeys opens the keys that others have added, and has this server's head
// say so, and that it seals with the new one: who changes the key waits for it.
func (l *Ledger) getKeys(ctx context.Context) error {
	var lacking []byte // the record that names them
	behind := false
	err := l.Read(func(v View) error {
		if v.keys.err != nil || v.keys.row.replacing() == 0 {
			return v.keys.err
		}
		if v.keys.missing() {
			lacking = []byte(v.keys.raw)
			return nil
		}
		own, found, err := v.head(l.server)
		behind = found && (own.known < v.keys.known() || own.sealer != v.keys.row.Sealing)
		return err
	})
	if err != nil || lacking == nil && !behind {
		return err
	}
	if lacking != nil {
		if err := l.learn(ctx, lacking); err != nil {
			return err
		}
	}
	return l.updateAs(ctx, l.server, func(*Txn) error { return nil })
}

// ChangingDataKey tells whether a key is being changed, and whether this server is
// the one that does it: the first by name of those that write.
func (l *Ledger) ChangingDataKey() (changing, mine bool, err error) {
	err = l.Read(func(v View) error {
		if v.keys.err != nil || v.keys.row.replacing() == 0 {
			return v.keys.err
		}
		heads, err := v.heads()
		changing, mine = true, true
		for _, h := range heads {
			if l.shared && h.server != "" && h.server < l.server {
				mine = false
			}
		}
		return err
	})
	return changing, mine, err
}

// lookAtUse says when a key has sealed half of what it may, and changes it by
// itself after three quarters.
func (l *Ledger) lookAtUse(ctx context.Context) error {
	used, err := l.lookAtSeals()
	if err != nil || used < 0.5 {
		return err
	}
	var id uint32
	var older, changing bool
	if err := l.Read(func(v View) error {
		id, older, changing = v.keys.row.Sealing, v.keys.row.first(), v.keys.row.replacing() != 0
		return nil
	}); err != nil || changing {
		return err
	}
	if l.rekeying.warned.Swap(id) != id {
		l.log.Warn("the data key has sealed half of what it may; change it: latchkey-kms store rekey", "key", id, "used", used)
	}
	if used >= 0.75 && !older {
		_, _, err = l.Rekey(As(ctx, "limit of seals"))
	}
	return err
}
