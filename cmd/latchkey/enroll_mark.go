package main

import (
	"fmt"

	"latchkey/unlock"
	"latchkey/unlock/luks2"
)

// settle marks the keyslot of m as enrolled, and sweeps. The header is read
// anew: another program may have changed it while the KMS was asked.
func settle(s luks2.Storage, sizeBytes int64, m unlock.Mark) error {
	h, err := luks2.Read(s, sizeBytes)
	if err != nil {
		return err
	}
	m.Token = luks2.AnyToken
	for _, there := range unlock.Marks(h) {
		if there.Slot == m.Slot {
			m.Token = there.Token
		}
	}

	m.State = unlock.MarkEnrolled
	if h, m.Token, err = h.SetToken(s, m.Token, m.JSON()); err != nil {
		return err
	}
	return sweep(s, h, m)
}

// sweep removes what earlier runs of this machine left: the KMS has just
// taken the key of m, so it has none of theirs.
func sweep(s luks2.Storage, h *luks2.Header, m unlock.Mark) (err error) {
	for _, old := range unlock.Marks(h) {
		if old.Token == m.Token || old.State != unlock.MarkEnrolling || !old.Ours(m) {
			continue
		}
		if h, err = old.Drop(s, h); err != nil {
			return err
		}
	}
	return nil
}

// withdraw removes the keyslot that was just added, and its mark.
func withdraw(s luks2.Storage, sizeBytes int64, slot int) error {
	h, err := luks2.Read(s, sizeBytes)
	if err == nil {
		m := unlock.Mark{Slot: slot, Token: -1}
		for _, there := range unlock.Marks(h) {
			if there.Slot == slot {
				m = there
			}
		}
		_, err = m.Drop(s, h)
	}
	if err != nil {
		return fmt.Errorf("keyslot %d is not used by anybody and could not be removed: %w", slot, err)
	}
	return nil
}
