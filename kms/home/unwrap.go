package home

import (
	"context"
	"errors"
	"os"

	"latchkey/internal/secret"
	"latchkey/kms/server"
	"latchkey/kms/wrapping"
)

// Keys are wrapping keys that are here, by the file of their material.
type Keys map[string]secret.Bytes

// Wipe wipes them.
func (k Keys) Wipe() {
	for _, key := range k {
		key.Wipe()
	}
	clear(k)
}

// Unwrap gets the wrapping key without the store: who keeps it may be away
// for long. The error wraps wrapping.ErrAway, or ErrRefused; whatever else
// is wrong, OpenBy says.
func (h Home) Unwrap(ctx context.Context) (Keys, error) {
	k := h.keeping()
	if k.material == "" {
		return nil, nil
	}
	key, err := k.read(ctx, k.material)
	if err == nil {
		return Keys{k.material: key}, nil
	}
	if _, none := os.Stat(k.fresh()); none == nil && !errors.Is(err, wrapping.ErrRefused) { // of a change that was cut short
		if key, second := k.read(ctx, k.fresh()); second == nil {
			return Keys{k.fresh(): key}, nil
		}
	}
	if errors.Is(err, wrapping.ErrAway) || errors.Is(err, wrapping.ErrRefused) {
		return nil, err
	}
	return nil, nil
}

// OpenBy is Open with the keys that Unwrap got.
func (h Home) OpenBy(ctx context.Context, keys Keys, c server.Config) (*server.Server, error) {
	c.Mark = h.Mark()
	k := h.keeping()
	k.held = keys
	return h.openKept(ctx, k, c)
}

// Gather begins to collect the shares of the wrapping key; nil if it is kept
// in another way.
func (h Home) Gather() (*wrapping.Gathering, error) {
	k := h.keeping()
	if k.Shares == "" {
		return nil, nil
	}
	return wrapping.Gather(k.material, k.fresh())
}
