package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"latchkey/kms/store/mirror"
)

// Commit implements mirror.Remote.
func (r *remote) Commit(ctx context.Context, at mirror.Version, reads mirror.Reads, changes []mirror.Change) (mirror.Written, error) {
	before, mine := r.last(), newID()
	if len(changes) == 0 {
		return r.look(ctx, at, reads)
	}
	ops := r.ops(changes)
	v, done, err := r.write(ctx, before, before.next(mine), r.compare(at, reads), ops)
	switch {
	case err == nil && done:
		return mirror.Written{Version: v, Next: v == at+1}, nil
	case err == nil:
		return mirror.Written{Version: v}, mirror.ErrConflict
	case refused(err):
		return mirror.Written{}, r.fail("writing to", err)
	}

	return r.resolve(ctx, before, mine, err)
}

// ops are the changes. What is removed from a table is said in a key of its
// own: etcd compares what there is, not what there was.
func (r *remote) ops(changes []mirror.Change) (ops []clientv3.Op) {
	gone := ""
	for _, c := range changes {
		key := r.rowKey(c.Table, c.Key)
		if c.Value != nil {
			ops = append(ops, clientv3.OpPut(key, string(c.Value)))
			continue
		}
		ops = append(ops, clientv3.OpDelete(key))
		if c.Table != gone { // they come by table
			gone = c.Table
			ops = append(ops, clientv3.OpPut(r.goneKey(gone), ""))
		}
	}
	return ops
}

// compare says that what was read at a version is still so; where that is
// too much to compare, that no key server wrote since.
func (r *remote) compare(at mirror.Version, reads mirror.Reads) (all []clientv3.Cmp) {
	if reads.All || !r.Narrow(len(reads.Rows)+len(reads.Ranges)+len(reads.Tables())) {
		return []clientv3.Cmp{r.nobody(at)}
	}
	for _, one := range reads.Rows {
		all = append(all, clientv3.Compare(clientv3.ModRevision(r.rowKey(one.Table, one.Key)), "=", int64(one.At)))
	}
	for _, one := range reads.Ranges {
		end := clientv3.GetPrefixRangeEnd(r.tableKey(one.Table))
		if one.To != "" {
			end = r.rowKey(one.Table, one.To)
		}
		all = append(all, clientv3.Compare(clientv3.ModRevision(r.rowKey(one.Table, one.From)).WithRange(end), "<", int64(at)+1))
	}
	for _, table := range reads.Tables() {
		all = append(all, clientv3.Compare(clientv3.ModRevision(r.goneKey(table)), "<", int64(at)+1))
	}
	return all
}

// nobody says that no key server wrote after a version.
func (r *remote) nobody(at mirror.Version) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(r.slotsKey()).WithPrefix(), "<", int64(at)+1)
}

// look makes sure that what was read at a version is still so.
func (r *remote) look(ctx context.Context, at mirror.Version, reads mirror.Reads) (mirror.Written, error) {
	got, err := r.client.Txn(ctx).If(r.compare(at, reads)...).Else(clientv3.OpGet(r.slotsKey(), clientv3.WithPrefix())).Commit()
	if err != nil {
		return mirror.Written{}, r.fail("reading", err)
	}
	if !got.Succeeded {
		return mirror.Written{Version: max(at, newest(got.Responses[0].GetResponseRange().Kvs))}, mirror.ErrConflict
	}
	return mirror.Written{Version: at}, nil
}

// write writes a slot's head with what goes with it, if the slot is as it
// was and what was compared holds; else it tells the newest version.
func (r *remote) write(ctx context.Context, before, h head, compare []clientv3.Cmp, ops []clientv3.Op) (seen mirror.Version, done bool, err error) {
	value := h.encode()
	got, err := r.client.Txn(ctx).
		If(append(compare, clientv3.Compare(clientv3.ModRevision(r.slot), "=", int64(before.version)))...).
		Then(append(ops, clientv3.OpPut(r.slot, string(value)))...).
		Else(clientv3.OpGet(r.slotsKey(), clientv3.WithPrefix())).Commit()
	if err != nil {
		return 0, false, err
	}

	if got.Succeeded {
		h, err := r.see(got.Header.Revision, value)
		return h.version, true, err
	}

	all := got.Responses[0].GetResponseRange().Kvs
	for _, kv := range all {
		if string(kv.Key) == r.slot {
			if _, err := r.see(kv.ModRevision, kv.Value); err != nil {
				return 0, false, err
			}
		}
	}
	return newest(all), false, nil
}

// refused tells errors after which nothing was written, and never will be.
func refused(err error) bool {
	for _, known := range []error{rpctypes.ErrNoSpace, rpctypes.ErrTooManyOps, rpctypes.ErrRequestTooLarge, rpctypes.ErrPermissionDenied, rpctypes.ErrTooManyRequests} {
		if errors.Is(err, known) || status.Code(err) == status.Code(known) && strings.Contains(err.Error(), known.Error()) {
			return true
		}
	}
	return slices.Contains([]codes.Code{codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.ResourceExhausted}, status.Code(err))
}

// resolve finds out what became of a transaction whose answer was lost. It
// may still be on its way: so first an empty one takes its place. Then
// either that was written, and the lost one never will be, or the slot shows
// who was.
func (r *remote) resolve(ctx context.Context, before head, mine id, lost error) (mirror.Written, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.c.Wait/2)
	defer cancel()
	for {
		one, end := context.WithTimeout(ctx, r.c.Wait/4)
		v, fenced, err := r.write(one, before, before.next(newID()), nil, nil)
		end()
		now := r.last()
		switch {
		case err == nil && fenced:
			return mirror.Written{Version: v}, mirror.ErrConflict
		case err == nil && slices.Contains(now.ids, mine):
			return mirror.Written{Version: v}, nil
		case err == nil && len(now.ids) < maxIDs, err == nil && len(before.ids) > 0 && slices.Contains(now.ids, before.ids[0]):
			return mirror.Written{Version: v}, mirror.ErrConflict // all since then are listed, and it is none of them
		case err == nil:
			return mirror.Written{}, mirror.ErrUnknown
		}

		select {
		case <-ctx.Done():
			return mirror.Written{}, fmt.Errorf("%w: %w", r.fail("writing to", lost), mirror.ErrUnknown)
		case <-time.After(r.c.Wait / 40):
		}
	}
}

// Follow implements mirror.Remote.
func (r *remote) Follow(ctx context.Context, after mirror.Version, report func(mirror.Version, []mirror.Change)) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for got := range r.client.Watch(ctx, r.prefix, clientv3.WithPrefix(), clientv3.WithRev(int64(after)+1)) {
		if err := got.Err(); err != nil {
			if got.CompactRevision != 0 {
				return mirror.ErrLost
			}
			return r.fail("following", err)
		}
		events := got.Events
		for len(events) > 0 { // those of one transaction have one revision
			n := slices.IndexFunc(events, func(e *clientv3.Event) bool { return e.Kv.ModRevision != events[0].Kv.ModRevision })
			if n < 0 {
				n = len(events)
			}
			if err := r.transaction(events[:n], report); err != nil {
				return err
			}
			events = events[n:]
		}
	}

	return r.fail("following", context.Cause(ctx))
}

// transaction reports one. What somebody else writes there by hand has no
// head: it is reported as such.
func (r *remote) transaction(events []*clientv3.Event, report func(mirror.Version, []mirror.Change)) error {
	var changes []mirror.Change
	var h head
	for _, e := range events {
		name := strings.TrimPrefix(string(e.Kv.Key), r.prefix)
		if strings.HasPrefix(name, "slot/") && e.Type == mvccpb.PUT {
			var err error
			if h, err = decodeHead(e.Kv.Value); err != nil {
				return err
			}
			h.version = mirror.Version(e.Kv.ModRevision)
			if string(e.Kv.Key) == r.slot {
				if _, err := r.see(e.Kv.ModRevision, e.Kv.Value); err != nil {
					return err
				}
			}
			continue
		}

		row, ours := strings.CutPrefix(name, "t/")
		table, key, whole := strings.Cut(row, "/")
		if !ours || !whole {
			continue
		}

		c := mirror.Change{Table: table, Key: key, At: e.Kv.ModRevision}
		if e.Type == mvccpb.PUT {
			c.Value = present(e.Kv.Value)
		}
		changes = append(changes, c)
	}

	if h.version != 0 || len(changes) > 0 {
		report(h.version, changes)
	}
	return nil
}
