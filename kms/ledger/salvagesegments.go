package ledger

import (
	"bytes"
	"context"

	"latchkey/kms/store"
)

// salvageSegments keeps of the sealed segments those that were removed, and
// begins the chains where they end. The others are sealed again: what they
// cover may be altered.
func (l *Ledger) salvageSegments(ctx context.Context, ends walk) error {
	var drop [][]byte
	err := l.Read(func(v View) error {
		bases, err := v.bases()
		if err != nil {
			bases = nil // one that cannot be read: nothing tells where the chains begin
		}
		for server, s := range bases {
			ends[server] = s.end()
		}
		v.Scan(tableSegments, nil, func(key []byte) bool {
			var s Segment
			found, err := v.Load(tableSegments, key, &s)
			gone := bytes.HasPrefix(key, []byte(prefixRemoved))
			if err != nil || !found || gone && bases == nil || !gone && s.Number > bases[s.Server].Number {
				drop = append(drop, bytes.Clone(key))
			}
			return true
		})
		return nil
	})
	for err == nil && len(drop) > 0 {
		some := drop[:min(len(drop), salvageRows)]
		drop = drop[len(some):]
		err = l.store.Update(ctx, func(tx store.Tx) error {
			for _, key := range some {
				if err := tx.Delete(tableSegments.name, key); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return err
}
