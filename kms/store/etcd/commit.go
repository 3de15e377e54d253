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
func (r *remote) Commit(ctx context.Context, at mirror.Version, changes []mirror.Change) (mirror.Version, error) {
	before := r.last()
	if before.version > at {
		return before.version, mirror.ErrConflict
	}

	mine := newID()
	var ops []clientv3.Op
	for _, c := range changes {
		key := r.rowKey(c.Table, c.Key)
		if c.Value == nil {
			ops = append(ops, clientv3.OpDelete(key))
		} else {
			ops = append(ops, clientv3.OpPut(key, string(c.Value)))
		}
	}

	v, done, err := r.write(ctx, at, before.next(mine), ops)
	switch {
	case err == nil && done:
		return v, nil
	case err == nil:
		return v, mirror.ErrConflict
	case refused(err):
		return 0, r.fail("writing to", err)
	}

	return r.resolve(ctx, at, before, mine, err)
}

// write writes a head with what goes with it, if the head is still at.
func (r *remote) write(ctx context.Context, at mirror.Version, h head, ops []clientv3.Op) (seen mirror.Version, done bool, err error) {
	value := h.encode()
	got, err := r.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(r.headKey()), "=", int64(at))).
		Then(append(ops, clientv3.OpPut(r.headKey(), string(value)))...).
		Else(clientv3.OpGet(r.headKey())).Commit()
	if err != nil {
		return 0, false, err
	}

	if got.Succeeded {
		h, err := r.see(got.Header.Revision, value)
		return h.version, true, err
	}

	kvs := got.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return 0, false, r.missing(ctx)
	}

	h, err = r.see(kvs[0].ModRevision, kvs[0].Value)
	return h.version, false, err
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
// either that was written, and the lost one never will be, or the head
// shows who was.
func (r *remote) resolve(ctx context.Context, at mirror.Version, before head, mine id, lost error) (mirror.Version, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.c.Wait/2)
	defer cancel()
	for {
		one, end := context.WithTimeout(ctx, r.c.Wait/4)
		v, fenced, err := r.write(one, at, before.next(newID()), nil)
		end()
		now := r.last()
		switch {
		case err == nil && fenced:
			return v, mirror.ErrConflict
		case err == nil && slices.Contains(now.ids, mine) && now.ids[0] == mine:
			return now.version, nil
		case err == nil && slices.Contains(now.ids, mine):
			return 0, nil
		case err == nil && len(now.ids) < maxIDs, err == nil && len(before.ids) > 0 && slices.Contains(now.ids, before.ids[0]):
			return v, mirror.ErrConflict // all since then are listed, and it is none of them
		case err == nil:
			return 0, mirror.ErrUnknown
		}

		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", r.fail("writing to", lost), mirror.ErrUnknown)
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
		if name == "head" && e.Type == mvccpb.PUT {
			var err error
			if h, err = r.see(e.Kv.ModRevision, e.Kv.Value); err != nil {
				return err
			}
			continue
		}

		row, ours := strings.CutPrefix(name, "t/")
		table, key, whole := strings.Cut(row, "/")
		if !ours || !whole {
			continue
		}

		c := mirror.Change{Table: table, Key: key}
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
