package luks2

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
)

// ErrLastSlot means that removing the keyslot would lose the volume.
var ErrLastSlot = errors.New("this is the last keyslot")

// AddKey puts one more passphrase into the header and returns the header
// as it then stands and the keyslot. A cut at any moment leaves all older
// keyslots: the area is written and synced before the header names it.
func (h *Header) AddKey(s Storage, volume VolumeKey, key NewKey) (*Header, int, error) {
	if volume.uuid != h.uuid || !h.meta.digest.verifies(volume.key) {
		return nil, 0, fmt.Errorf("adding a key to volume %s: %w", h.uuid, ErrWrongKey)
	}
	if err := h.unchanged(s); err != nil {
		return nil, 0, fmt.Errorf("adding a key to volume %s: %w", h.uuid, err)
	}

	slot, err := h.meta.newKeyslot(int64(len(h.raw)), key)
	if err != nil {
		return nil, 0, fmt.Errorf("adding a key to volume %s: %w", h.uuid, err)
	}

	if err := slot.store(s, volume.key, key.Passphrase); err != nil {
		return nil, 0, fmt.Errorf("adding a key to volume %s: %w", h.uuid, err)
	}
	after, err := h.change(s, func(m *metadata) error {
		m.keyslots = append(m.keyslots, slot)
		slices.SortFunc(m.keyslots, func(a, b Keyslot) int { return a.ID - b.ID })
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("adding a key to volume %s: %w", h.uuid, err)
	}

	return after, slot.ID, nil
}

// RemoveKey overwrites the area of a keyslot and removes it from the
// header, in this order: a cut between leaves a keyslot that opens nothing
// and can be removed again, never key material that no header names. On
// flash the old area may survive out of reach; a rotation changes the
// secret as well.
func (h *Header) RemoveKey(s Storage, slot int) (*Header, error) {
	i := slices.IndexFunc(h.meta.keyslots, func(k Keyslot) bool { return k.ID == slot })
	switch {
	case i < 0:
		return nil, fmt.Errorf("removing keyslot %d of volume %s: %w", slot, h.uuid, ErrNoSlot)
	case len(h.meta.keyslots) == 1:
		return nil, fmt.Errorf("removing keyslot %d of volume %s: %w", slot, h.uuid, ErrLastSlot)
	}

	if err := h.unchanged(s); err != nil {
		return nil, fmt.Errorf("removing keyslot %d of volume %s: %w", slot, h.uuid, err)
	}
	noise := make([]byte, h.meta.keyslots[i].areaSize)
	rand.Read(noise)
	if err := writeSync(s, noise, h.meta.keyslots[i].areaOffset); err != nil {
		return nil, fmt.Errorf("overwriting keyslot %d of volume %s: %w", slot, h.uuid, err)
	}

	after, err := h.change(s, func(m *metadata) error {
		m.keyslots = slices.Delete(m.keyslots, i, i+1)
		return m.forget(slot)
	})
	if err != nil {
		return nil, fmt.Errorf("removing keyslot %d of volume %s: %w", slot, h.uuid, err)
	}

	return after, nil
}
