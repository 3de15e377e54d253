package main

import (
	"fmt"

	"latchkey/unlock"
	"latchkey/unlock/luks2"
)

// An already is a volume that this machine has enrolled before: the KMS has
// its key, and a keyslot is marked with this machine and this KMS.
type already struct{ slot int }

func (a *already) Error() string { return fmt.Sprintf("already enrolled: keyslot %d", a.slot) }

// mark is what this machine's marks with this KMS have in common.
func (e *enrollment) mark() unlock.Mark {
	return unlock.Mark{Node: e.id.NodeID(), KMS: e.client.Pins}
}

// enrolledIn is the keyslot that this machine has enrolled, in the mode that
// is wanted, -1 if there is none.
func (e *enrollment) enrolledIn(h *luks2.Header) int {
	for _, m := range unlock.Marks(h) {
		if m.Slot >= 0 && m.State == unlock.MarkEnrolled && m.Mode == e.mode && m.Ours(e.mark()) {
			return m.Slot
		}
	}
	return -1
}

// room checks, before anything is asked or changed, that the keyslots that
// an enrollment adds will fit.
func (e *enrollment) room(h *luks2.Header) error {
	if free := h.Room(e.volume); free < e.needs {
		return fmt.Errorf("volume %s has room for %d more keyslots, and this needs %d: remove one that nobody uses (latchkey volume inspect, latchkey volume remove-key)", h.UUID(), free, e.needs)
	}
	return nil
}
