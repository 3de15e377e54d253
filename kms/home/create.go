package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"latchkey/kms/ledger"

	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/kms/server"
	"latchkey/kms/store"
)

// Begun tells whether there is a KMS, or what may be one: nothing is made
// there unless somebody says so. A shared store always may be.
func (h Home) Begun() bool {
	if h.Place.Shared() {
		return true
	}
	_, err := os.Lstat(h.Place.Path)
	return !errors.Is(err, fs.ErrNotExist)
}

// Create makes a new KMS and returns its public key. What is there already
// stays as it is. A TPM holds the wrapping key to the values of these PCRs.
func (h Home) Create(ctx context.Context, pcrs []int) (kms.Pin, error) {
	if err := h.begin(); err != nil {
		return kms.Pin{}, fmt.Errorf("initializing: %w", err)
	}
	if _, err := os.Lstat(h.Place.Path); !h.Place.Shared() && err == nil {
		return kms.Pin{}, fmt.Errorf("initializing: %s already holds a KMS; nothing was changed", h.Data)
	}
	if _, err := h.Mark().Read(); h.Location.Mark != "" && err == nil {
		return kms.Pin{}, fmt.Errorf("initializing: %s is already the high-water mark of a KMS; nothing was changed; name another with --mark", h.Location.Mark)
	}
	if _, err := h.Mark().Read(); h.Place.Shared() && err == nil {
		return kms.Pin{}, fmt.Errorf("initializing: %s is already the data directory of a KMS; nothing was changed; use another with --data", h.Data)
	}

	st, made, err := h.beginStore(ctx)
	if err != nil {
		return kms.Pin{}, err
	}
	defer st.Close()

	pin, err := h.fill(ctx, st, pcrs)
	if err != nil && made {
		st.Close()
		os.Remove(h.Place.Path)
	}
	return pin, err
}

func (h Home) fill(ctx context.Context, st store.Store, pcrs []int) (kms.Pin, error) {
	key, err := h.keeping().make(ctx, pcrs)
	if err != nil {
		return kms.Pin{}, err
	}
	defer key.Wipe()
	return ledger.Initialize(ctx, st, key, h.Mark())
}

// beginStore opens an empty store; it may make a file for it.
func (h Home) beginStore(ctx context.Context) (st store.Store, made bool, err error) {
	if st, err = h.openStore(ctx, true); err != nil || !h.Place.Shared() {
		return st, err == nil, err
	}
	holds, err := ledger.Holds(st)
	if err == nil && holds {
		err = fmt.Errorf("initializing: %s already holds a KMS; nothing was changed; to add a server to it, run: latchkey-kms init --join", h.Place)
	}
	if err != nil {
		st.Close()
	}
	return st, false, err
}

// Join makes this host ready for one more server on a KMS that is there:
// its high-water mark begins at what is found and verified. A host that was
// a server of it keeps its mark, and refuses a store that is older, unless
// afterRestore says that it was made older on purpose: restore on one host
// cannot know how far the others have seen.
func (h Home) Join(ctx context.Context, afterRestore bool) (found ledger.Checked, key string, err error) {
	if !h.Place.Shared() {
		return found, "", cli.Usagef("--join is for a store that several servers share: name it with --store")
	}
	if err := h.begin(); err != nil {
		return found, "", fmt.Errorf("joining: %w", err)
	}

	var mark ledger.Mark = h.Mark()
	if _, err := mark.Read(); afterRestore || errors.Is(err, fs.ErrNotExist) {
		mark = &freeMark{}
	}
	s, err := h.open(ctx, server.Config{Mark: mark})
	if err != nil {
		return found, "", err
	}
	defer s.Close()

	if found, err = s.Check(); err != nil {
		return found, "", err
	}
	return found, s.Pins()[0].String(), h.Mark().Write(found.Position())
}
