package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"latchkey/internal/kube"
	"latchkey/kms/store/mirror"
)

// Commit implements mirror.Remote. The head moves with every write, so it is
// compared instead of what was read.
func (r *remote) Commit(ctx context.Context, at mirror.Version, _ mirror.Reads, changes []mirror.Change) (mirror.Written, error) {
	if len(changes) == 0 {
		v, err := r.Head(ctx)
		if err == nil && v != at {
			err = mirror.ErrConflict
		}
		return mirror.Written{Version: v, Next: true}, err
	}
	v, err := r.commit(ctx, at, changes)
	return mirror.Written{Version: v, Next: v == at+1}, err
}

func (r *remote) commit(ctx context.Context, at mirror.Version, changes []mirror.Change) (mirror.Version, error) {
	before := r.last()
	if before.version != at {
		return before.version, mirror.ErrConflict
	}

	if err := r.room(changes); err != nil {
		return 0, err
	}
	base := before
	if base.full(batch{changes: changes}.size()) {
		if err := r.apply(ctx, base); err != nil {
			return 0, err
		}
		base.applied, base.batches = base.version, nil
	}

	mine := newID()
	err := r.write(ctx, base.next(changes, mine))
	switch code := kube.CodeOf(err); {
	case err == nil:
		return at + 1, nil
	case code == http.StatusConflict:
		h, err := r.readHead(ctx)
		if err != nil {
			return 0, err
		}
		return h.version, mirror.ErrConflict
	case code >= 400 && code < 500:
		return 0, r.fail("writing", err)
	}

	return r.resolve(ctx, before, mine, err)
}

// write replaces the head by one that was made from it.
func (r *remote) write(ctx context.Context, h head) error {
	var o secretObject
	if err := r.c.Client.Do(ctx, http.MethodPut, r.at(r.headName()), nil, r.object(r.headName(), h.resource, h.encode()), &o); err != nil {
		return err
	}
	h.resource = o.Metadata.ResourceVersion
	r.see(h)
	return nil
}

// resolve finds out what became of a head whose answer was lost. It may
// still be on its way: so first an empty batch takes its place. Then either
// that was written, and the lost one never will be, or the head shows who
// was.
func (r *remote) resolve(ctx context.Context, before head, mine id, lost error) (mirror.Version, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.c.Wait/2)
	defer cancel()
	for {
		err := r.fence(ctx, before)
		h := r.last()
		switch {
		case err == nil:
			return h.version, mirror.ErrConflict
		case !errors.Is(err, errMoved):
		case len(h.ids) > 0 && h.ids[0] == mine:
			return h.version, nil
		case slices.Contains(h.ids, mine):
			return 0, nil
		case len(before.ids) > 0 && slices.Contains(h.ids, before.ids[0]):
			return h.version, mirror.ErrConflict // all since then are listed, and it is none of them
		default:
			return 0, mirror.ErrUnknown
		}

		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", r.fail("writing", lost), mirror.ErrUnknown)
		case <-time.After(r.c.Wait / 40):
		}
	}
}

// errMoved is a head that is no longer the one that was written over.
var errMoved = errors.New("the head has moved")

func (r *remote) fence(ctx context.Context, before head) error {
	err := r.write(ctx, before.next(nil, newID()))
	if kube.CodeOf(err) != http.StatusConflict {
		return err
	}
	if _, err := r.readHead(ctx); err != nil {
		return err
	}
	return errMoved
}
