package luks2

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"latchkey/internal/order"
)

// Restore writes the backup over a device, in place of the header now, which
// is nil if none can be read there. If that is the same volume's, each moment
// has a header that a keyslot of it, or of the backup, opens:
//
//  1. keyslots of the backup are written where none is now
//  2. a header that names them alone
//  3. the other keyslots, over those of now
//  4. the header of the backup
//  5. noise over what it does not name
//
// If no keyslot of the backup has a place in 1, one gets another place until
// 4. The seqid goes on from now's. The result has no damaged copy.
func (b *Backup) Restore(s Storage, now *Header) (*Header, error) {
	r := restoring{Backup: b, s: s, seqID: b.SeqID() + 1}
	if now != nil {
		r.seqID = max(b.SeqID(), now.SeqID()) + 1
		if b.SameVolume(now) {
			r.now = now
		}
	}

	after, err := withLock(s, func() (*Header, error) {
		if now != nil {
			if err := now.unchanged(s); err != nil {
				return nil, err
			}
		}
		if err := r.run(); err != nil {
			return nil, err
		}
		return ReadAny(s, b.deviceSize)
	})
	if err != nil {
		return nil, fmt.Errorf("restoring the header of volume %s: %w", b.uuid, err)
	}
	return after, nil
}

// restoring is a Restore on its way.
type restoring struct {
	*Backup
	s     Storage
	now   *Header // nil: nothing of it is to be kept
	seqID uint64  // of the next header
}

func (r *restoring) run() error {
	early, late := r.meta.slots, []slot(nil)
	if r.now != nil {
		var err error
		if early, late, err = r.split(); err != nil {
			return err
		}
	}

	if err := r.store(early); err != nil {
		return err
	}
	if len(late) > 0 {
		if err := r.between(early); err != nil {
			return err
		}
		if err := r.store(late); err != nil {
			return err
		}
	}
	if err := r.write(r.raw[binSize:]); err != nil {
		return err
	}
	return r.clean()
}

// split tells which keyslots have a place that none of now's has, or are
// there already.
func (r *restoring) split() (early, late []slot, err error) {
	for _, s := range r.meta.slots {
		taken := slices.ContainsFunc(r.now.meta.slots, s.overlaps)
		if taken {
			there := make([]byte, s.areaSize)
			if err := readFull(r.s, there, s.areaOffset); err != nil {
				return nil, nil, &IOError{err}
			}
			taken = !bytes.Equal(there, r.area(s))
		}
		if taken {
			late = append(late, s)
		} else {
			early = append(early, s)
		}
	}
	return early, late, nil
}

func (s slot) overlaps(other slot) bool {
	return s.areaOffset < other.areaOffset+other.areaSize && other.areaOffset < s.areaOffset+s.areaSize
}

// area is what the backup has of a keyslot.
func (b *Backup) area(s slot) []byte { return b.image[s.areaOffset : s.areaOffset+s.areaSize] }

// store writes keyslots and reads them back.
func (r *restoring) store(slots []slot) error {
	for _, s := range slots {
		if err := s.store(r.s, r.area(s)); err != nil {
			return err
		}
	}
	return nil
}

// between writes the header that names the keyslots that are there, or, if
// none of them can be used, one that is put elsewhere for so long.
func (r *restoring) between(early []slot) error {
	usable := func(s slot) bool { return s.skip == nil }
	named := early
	if !slices.ContainsFunc(early, usable) {
		moved, err := r.move(r.meta.slots[slices.IndexFunc(r.meta.slots, usable)])
		if err != nil {
			return err
		}
		named = append(slices.Clone(early), moved)
	}

	text, err := r.edited(edit{metadata: func(m *metadata) error {
		for _, s := range r.meta.slots {
			if !slices.ContainsFunc(named, func(n slot) bool { return n.ID == s.ID }) {
				if err := m.remove(s.ID, nil); err != nil {
					return err
				}
			}
		}
		m.slots = slices.Clone(named)
		order.By(m.slots, func(a, b slot) int { return cmp.Compare(a.ID, b.ID) })
		return nil
	}})
	if err != nil {
		return err
	}
	return r.write(text)
}

// move puts a keyslot where neither the backup nor now has one.
func (r *restoring) move(s slot) (slot, error) {
	trial := metadata{keyslotsSize: r.meta.keyslotsSize}
	for _, other := range slices.Concat(r.meta.slots, r.now.meta.slots) {
		other.ID = AnySlot
		trial.slots = append(trial.slots, other)
	}
	free, err := trial.place(int64(len(r.raw)), s.KeyBytes, AnySlot)
	if err != nil {
		return s, fmt.Errorf("finding room for a keyslot, so that a power cut loses nothing: %w", err)
	}

	area := r.area(s)[:s.stripeBytes()]
	s.areaOffset, s.areaSize = free.areaOffset, free.areaSize
	if s.text, err = withArea(s.text, s.areaOffset, s.areaSize); err != nil {
		return s, err
	}
	return s, s.store(r.s, append(bytes.Clone(area), make([]byte, s.areaSize-int64(len(area)))...))
}

// withArea is the JSON text of a keyslot whose area lies elsewhere.
func withArea(text json.RawMessage, offset, size int64) (json.RawMessage, error) {
	var keyslot, area map[string]json.RawMessage
	if err := json.Unmarshal(text, &keyslot); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(keyslot["area"], &area); err != nil {
		return nil, err
	}
	area["offset"] = json.RawMessage(strconv.Quote(strconv.FormatInt(offset, 10)))
	area["size"] = json.RawMessage(strconv.Quote(strconv.FormatInt(size, 10)))
	var err error
	if keyslot["area"], err = json.Marshal(area); err != nil {
		return nil, err
	}
	return json.Marshal(keyslot)
}

// write writes both copies of a header, that of now which is in use last.
func (r *restoring) write(text []byte) error {
	at := *r.Header
	if at.used = 0; r.now != nil {
		at.used = r.now.used
	}
	err := at.writeBoth(r.s, text, r.seqID)
	r.seqID++
	return err
}

// clean writes noise over all of the keyslots area that the backup's header
// does not name: removed keyslots, and one that was put there for a while.
func (r *restoring) clean() error {
	slots := slices.Clone(r.meta.slots)
	order.By(slots, func(a, b slot) int { return cmp.Compare(a.areaOffset, b.areaOffset) })
	at := 2 * int64(len(r.raw))
	for _, s := range slots {
		if err := scramble(r.s, at, s.areaOffset); err != nil {
			return err
		}
		at = s.areaOffset + s.areaSize
	}
	return scramble(r.s, at, r.areasEnd())
}
