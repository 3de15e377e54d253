package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms/store"
)

// A data key is changed in steps, each one transaction, so that it goes on
// from wherever it was cut off:
//
//  1. addKey adds a key, which seals nothing yet. Servers that share the store
//     ask for the wrapping key, open it, and say so in their heads.
//  2. useKey has it seal, once every server has it. Each transaction holds to
//     the record of the keys, so from then on none seals with the old one.
//  3. resealAll seals what is left again, some rows at a time.
//  4. dropKey removes the old one, once nothing is sealed with it.

// ErrRekeying is a change of the data key while another one runs.
var ErrRekeying = errors.New("the data key is being changed already")

// What a change of the data key waits for.
var (
	errWaiting = errors.New("these servers do not have the new data key yet")
	errSilent  = errors.New("these servers have not written since")
)

// putKeys writes the record of the data keys, and goes on with them.
func (t *Txn) putKeys(row keyRow) error {
	if err := t.uncount(tableMeta, keyWrapped); err != nil {
		return err
	}
	before, raw := t.View, row.encode()
	t.View.keys = t.View.l.chain.at(raw)
	if err := recount(&t.state.set, before, t.View, nil); err != nil {
		return err
	}
	if err := t.View.keys.count(&t.state.set, tableMeta, keyWrapped, raw); err != nil {
		return err
	}
	return t.tx.Put(tableMeta, keyWrapped, raw)
}

// recount counts what is in the clear, and was not written, under the key that
// seals now instead of the one that did.
func recount(set *[32]byte, before, after View, written []store.Row) (err error) {
	if before.keys.sealing == after.keys.sealing {
		return nil
	}
	before.Glance().r.Scan(tableMeta, nil, func(key, _ []byte) bool {
		fresh := slices.ContainsFunc(written, func(r store.Row) bool { return r.Table == tableMeta && r.Key == string(key) })
		if !plainMeta(tableMeta, key) || bytes.Equal(key, keyWrapped) || fresh {
			return true
		}
		value := before.r.Get(tableMeta, key)
		if err = before.keys.count(set, tableMeta, key, value); err == nil {
			err = after.keys.count(set, tableMeta, key, value)
		}
		return err == nil
	})
	return err
}

// Rekey begins to change the data key; GoOn does the rest. It returns the ids
// of the old one and the new one.
func (l *Ledger) Rekey(ctx context.Context) (from, to uint32, err error) {
	wrapping, err := l.askWrapping(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer wrapping.Wipe()
	key := secret.Random(32)
	defer key.Wipe()
	err = l.updateAs(ctx, l.server, func(t *Txn) error {
		row := t.View.keys.row
		from, to = row.Sealing, row.newest()+1
		if row.first() {
			return fmt.Errorf("%w: the store is in an older format, of one data key; once no earlier version runs on it, run: latchkey-kms store upgrade", ErrRefused)
		}
		if old := row.replacing(); old != 0 {
			from, to = old, row.newest()
			return ErrRekeying
		}
		return t.addKey(ctx, wrapping, to, key)
	})
	if err != nil {
		return from, to, fmt.Errorf("changing the data key: %w", err)
	}
	l.wakeRekeying()
	return from, to, nil
}

func (t *Txn) addKey(ctx context.Context, wrapping secret.Bytes, id uint32, key secret.Bytes) error {
	row := t.View.keys.row
	old, err := row.of(row.Sealing).unwrap(wrapping) // one that another key wraps would open nothing
	if err != nil {
		return err
	}
	old.Wipe()
	if err := t.View.l.chain.add(id, key); err != nil {
		return err
	}
	row.Keys = append(slices.Clone(row.Keys), wrappedKey{ID: id, Made: time.Now().Unix(), Print: printOf(key), Wrapped: wrap(wrapping, id, key)})
	if err := t.putKeys(row); err != nil {
		return err
	}
	return t.Note(Event{Event: "store rekey", From: Who(ctx), Detail: fmt.Sprintf("from data key %d to %d", row.Sealing, id)})
}

// useKey has the new key seal, if every server has it.
func (t *Txn) useKey() error {
	row := t.View.keys.row
	if row.replacing() == 0 || row.Sealing == row.newest() {
		return nil // another server was first
	}
	if t.View.keys.known() < row.newest() {
		return fmt.Errorf("%w: this one", errWaiting)
	}
	if err := t.EndIdle(); err != nil {
		return err
	}
	var without []string
	for _, h := range t.others {
		alone := h.server == "" && t.View.l.shared // a head of when there was one server
		if h.known < row.newest() && !alone && !slices.Contains(t.ended, h.server) {
			without = append(without, h.server)
		}
	}
	if len(without) > 0 {
		slices.Sort(without)
		return fmt.Errorf("%w: %s", errWaiting, strings.Join(without, ", "))
	}
	row.Sealing = row.newest()
	return t.putKeys(row)
}

// dropKey removes the old key. That nothing is sealed with it was seen after
// the new one began to seal, so nothing can be.
func (t *Txn) dropKey(old uint32) error {
	row := t.View.keys.row
	if row.replacing() != old || row.Sealing == old {
		return nil // another server was first, and maybe changes the next one
	}
	row.Keys = slices.Clone(row.Keys[1:])
	if err := t.putKeys(row); err != nil {
		return err
	}
	return t.Note(Event{Event: "store rekeyed", Detail: fmt.Sprintf("data key %d is gone; %d seals", old, row.Sealing)})
}

// followsKeys judges a change of the format and of the data keys. A server that cannot write
// without the new one asks for it at once: it has not heard of it before.
func (l *Ledger) followsKeys(before, after View) error {
	if !bytes.Equal(before.r.Get(tableMeta, keyFormat), after.r.Get(tableMeta, keyFormat)) {
		if err := checkFormat(after.r); err != nil {
			return err
		}
	}
	if after.keys.raw == before.keys.raw {
		return nil
	}
	if after.keys.err != nil {
		return after.keys.err
	}
	l.wakeRekeying()
	if before.keys.err == nil && !after.keys.row.follows(before.keys.row) {
		return fmt.Errorf("%w: a data key was put back", ErrUnverified)
	}
	if after.keys.sealing != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), learnWait)
	defer cancel()
	return l.learn(ctx, []byte(after.keys.raw))
}

// learnWait is how long the store is not followed while the wrapping key is
// asked for.
const learnWait = 20 * time.Second
