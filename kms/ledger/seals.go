package ledger

import (
	"cmp"
	"fmt"
)

// sealLimit is how often one data key seals. Each record has a random nonce of
// 96 bits, and of one key there may be 2^32 such seals (NIST SP 800-38D,
// section 8.3). Servers that share a store count each for itself and see the
// others' counts some seconds later, so the last 2^24 are left.
const sealLimit = 1<<32 - 1<<24

// total are the seals of a key, as far as this server knows.
func (k *dataKey) total() uint64 { return k.before.Load() + k.made.Load() + k.others.Load() }

// unable says why nothing can be sealed: nil if it can.
func (v *vault) unable() error {
	if v.err == nil && v.sealing == nil {
		return fmt.Errorf("sealing with data key %d: %w", v.row.Sealing, ErrNoDataKey)
	}
	return v.err
}

// spent says that a key has sealed as much as it may. Only the change of the
// key itself goes on then.
func (l *Ledger) spent(v *vault) error {
	if v.sealing != nil && v.sealing.total() >= l.sealLimit {
		return fmt.Errorf("sealing: %w: data key %d has sealed as much as it may; change it: latchkey-kms store rekey", ErrRefused, v.row.Sealing)
	}
	return nil
}

// countSeals has this server's head say how often the server has sealed with
// the key that seals, the head itself included. What was sealed in vain since
// the head before is counted, too; what a crash cuts off is not.
func (t *Txn) countSeals() {
	k := t.View.keys.sealing
	t.state.known = t.View.keys.known()
	if t.server != t.View.l.server {
		t.state.sealer, t.state.seals = k.id, 0
		return
	}
	k.first.Do(func() {
		if t.state.sealer == k.id {
			k.before.Store(t.state.seals)
		}
	})
	t.state.sealer, t.state.seals = k.id, k.before.Load()+k.made.Load()+1
}

// known is the newest key that this process has of those that a state names.
func (v *vault) known() (id uint32) {
	for _, k := range v.keys {
		id = max(id, k.id)
	}
	return id
}

// A DataKey is one that seals records, or has sealed some.
type DataKey struct {
	ID      uint32 `json:"id"`
	Made    int64  `json:"made,omitempty"` // in seconds since 1970; 0: with the KMS, or before format 3
	Sealing bool   `json:"sealing"`        // it seals; else its records are sealed again, or it does not seal yet
	Seals   uint64 `json:"seals"`          // of all servers, as their heads say; counted from format 3 on
	Limit   uint64 `json:"limit"`          // of seals
}

// DataKeys are those that the store names, oldest first.
func (l *Ledger) DataKeys() (all []DataKey, err error) {
	err = l.Read(func(v View) error {
		if v.keys.err != nil {
			return v.keys.err
		}
		st, err := v.readState()
		if err != nil {
			return err
		}
		for _, w := range v.keys.row.Keys {
			k := DataKey{ID: w.ID, Made: w.Made, Sealing: w.ID == v.keys.row.Sealing, Limit: l.sealLimit}
			for _, h := range st.chains() {
				if h.sealer == w.ID {
					k.Seals += h.seals
				}
			}
			all = append(all, k)
		}
		return nil
	})
	return all, err
}

// lookAtSeals takes in what the other servers have sealed with the key that
// seals, and returns how much of its limit is used.
func (l *Ledger) lookAtSeals() (used float64, err error) {
	err = l.Read(func(v View) error {
		if err := v.keys.err; err != nil || v.keys.sealing == nil {
			return cmp.Or(err, ErrNoDataKey)
		}
		st, err := v.readState()
		if err != nil {
			return err
		}
		k, others := v.keys.sealing, uint64(0)
		for _, h := range st.chains() {
			if h.sealer == k.id && h.server != l.server {
				others += h.seals
			}
		}
		k.others.Store(others)
		used = float64(k.total()) / float64(l.sealLimit)
		return nil
	})
	return used, err
}
