package luks2

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
)

// ErrLastSlot means that removing the keyslot would lose the volume.
var ErrLastSlot = errors.New("this is the last keyslot that can be used")

// AddKey puts one more passphrase into the header and returns the header
// as it then stands and the keyslot. A cut at any moment leaves all older
// keyslots: the area is written and synced before the header names it. The
// KDF, which takes seconds, runs before the last look at the header.
func (h *Header) AddKey(s Storage, volume VolumeKey, key NewKey) (*Header, int, error) {
	after, slot, err := h.addKey(s, volume, key)
	if err != nil {
		return nil, 0, fmt.Errorf("adding a key to volume %s: %w", h.uuid, err)
	}
	return after, slot, nil
}

func (h *Header) addKey(s Storage, volume VolumeKey, key NewKey) (*Header, int, error) {
	if h.format == luks1 {
		return nil, 0, ErrLUKS1
	}
	if volume.uuid != h.uuid || !h.meta.digest.verifies(volume.key) {
		return nil, 0, ErrWrongKey
	}
	slot, err := h.meta.newKeyslot(int64(len(h.raw)), volume.key.Len(), key)
	if err != nil {
		return nil, 0, err
	}

	area := slot.seal(volume.key, key.Passphrase)
	after, err := h.change(s, edit{
		metadata: func(m *metadata) error { return m.add(slot, key) },
		area:     func() error { return slot.store(s, area) },
	})
	return after, slot.ID, err
}

// RemoveKey overwrites the area of a keyslot, usable or not, and removes it
// and the named tokens from the header, in this order: a cut between leaves
// a keyslot that opens nothing and can be removed again, never key material
// that no header names. On flash the old area may survive out of reach; a
// rotation changes the secret as well.
func (h *Header) RemoveKey(s Storage, slot int, tokens ...int) (*Header, error) {
	after, err := h.removeKey(s, slot, tokens)
	if err != nil {
		return nil, fmt.Errorf("removing keyslot %d of volume %s: %w", slot, h.uuid, err)
	}
	return after, nil
}

func (h *Header) removeKey(s Storage, id int, tokens []int) (*Header, error) {
	i := h.meta.slot(id)
	if i < 0 {
		return nil, ErrNoSlot
	}
	gone := h.meta.slots[i]
	if gone.skip == nil && len(h.Keyslots()) == 1 {
		return nil, ErrLastSlot
	}

	return h.change(s, edit{
		metadata: func(m *metadata) error { return m.remove(id, tokens) },
		area: func() error {
			noise := make([]byte, gone.areaSize)
			rand.Read(noise)
			if err := writeSync(s, noise, gone.areaOffset); err != nil {
				return fmt.Errorf("overwriting the keyslot: %w", err)
			}
			return nil
		},
	})
}

// remove takes a keyslot and some tokens out of the metadata.
func (m *metadata) remove(id int, tokens []int) error {
	m.slots = slices.DeleteFunc(m.slots, func(s slot) bool { return s.ID == id })
	m.disown(id)
	if err := m.forget(id); err != nil {
		return err
	}
	for _, token := range tokens {
		if err := m.removeToken(token); err != nil {
			return err
		}
	}
	return nil
}
