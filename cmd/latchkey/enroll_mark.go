package main

import (
	"fmt"

	"latchkey/unlock"
	"latchkey/unlock/luks2"
)

// settle marks the keyslot of m as enrolled, and sweeps. The header is read
// anew: another program may have changed it while the KMS was asked.
func settle(s luks2.Storage, sizeBytes int64, m unlock.Mark, opened int, say func(format string, args ...any)) error {
	h, err := luks2.ReadAny(s, sizeBytes)
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
	sayForeign(h, m, say)
	if h, m.Token, err = h.SetToken(s, m.Token, m.JSON()); err != nil {
		return err
	}
	return sweep(s, h, m, opened)
}

// sayForeign names the keyslots of other machines: of this disk's mainboard
// before, or of a machine that the disk was taken from. Only a person knows.
func sayForeign(h *luks2.Header, m unlock.Mark, say func(format string, args ...any)) {
	for _, there := range unlock.Marks(h) {
		if there.Slot >= 0 && there.Node != m.Node {
			say("keyslot %d was made for another machine (%q): if that is gone, latchkey volume remove-key --slot %[1]d --key-file FILE DEVICE", there.Slot, there.Node.Words())
		}
	}
}

// sweep removes what earlier runs and rotations of this machine left: the
// KMS keeps one key for the volume and has just taken that of m, so it has
// none of theirs. opened, the keyslot of the operator's key, stays.
func sweep(s luks2.Storage, h *luks2.Header, m unlock.Mark, opened int) (err error) {
	for _, old := range unlock.Marks(h) {
		if old.Token == m.Token || old.Slot == opened || !old.Ours(m) {
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
	h, err := luks2.ReadAny(s, sizeBytes)
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
