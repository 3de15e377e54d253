package unlock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// A Renewal replaces a key that no server holds: one in a file, say.
//
//  1. the next key is on stable storage beside the old one
//  2. Stage adds a keyslot for it, with a token that names the keyslot that
//     it replaces, and proves it from the disk
//  3. the next key takes the old one's place
//  4. Finish removes the old keyslot, if the next key opens the new one
//
// After a power cut at any point a key that is stored opens a keyslot, and
// the same steps again end it.
type Renewal struct {
	Disk      luks2.Storage
	SizeBytes int64
	Memory    *luks2.Memory
}

// RenewalType is the type of the token that names what a keyslot replaces.
const RenewalType = "latchkey-renewal"

// renewed is the token of a keyslot that replaces another one.
type renewed struct {
	Type     string   `json:"type"`
	Keyslots []string `json:"keyslots"`
	Replaces string   `json:"replaces"`
	Was      string   `json:"replaces-salt"` // its fingerprint: the number may be another keyslot's by now

	token, slot, old int
}

// Renewals are the keyslots of a header that are to replace others: the
// number of the one replaced by that of the new one.
func Renewals(h *luks2.Header) map[int]int {
	all := map[int]int{}
	for _, r := range renewals(h) {
		all[r.slot] = r.old
	}
	return all
}

func renewals(h *luks2.Header) (all []renewed) {
	for _, t := range h.Tokens() {
		var r renewed
		if t.Type != RenewalType || json.Unmarshal(t.JSON, &r) != nil || len(t.Keyslots) != 1 {
			continue
		}
		old, err := strconv.Atoi(r.Replaces)
		if err != nil {
			continue
		}
		r.token, r.slot, r.old = t.ID, t.Keyslots[0], old
		all = append(all, r)
	}
	return all
}

// there tells whether the very keyslot that is to go is there still.
func (r renewed) there(h *luks2.Header) bool {
	return r.Was != "" && r.old != r.slot && r.Was == fingerprint(h, r.old)
}

// Check tells, before anything is made, whether Stage can put another key in
// the place of this one, and how many more keyslots there is room for.
func (r *Renewal) Check(ctx context.Context, key secret.Bytes) (room int, err error) {
	h, err := luks2.ReadAny(r.Disk, r.SizeBytes)
	if err != nil {
		return 0, err
	}
	volume, slot, err := r.unlock(ctx, h, key, luks2.AnySlot)
	if err != nil {
		return 0, err
	}
	defer volume.Wipe()
	return h.Room(volume), half(h, slot)
}

// half refuses to replace a keyslot whose own renewal has not ended.
func half(h *luks2.Header, slot int) error {
	for _, one := range renewals(h) {
		if one.slot == slot && one.there(h) {
			return fmt.Errorf("keyslot %d is to replace keyslot %d, which is there still: end that first", one.slot, one.old)
		}
	}
	return nil
}

// Stage makes sure that the next key has a keyslot that opens, in place of
// the one that the old key opens, and returns both.
func (r *Renewal) Stage(ctx context.Context, old secret.Bytes, next luks2.NewKey) (slot, replaces int, err error) {
	h, err := r.read()
	if err != nil {
		return 0, 0, err
	}
	volume, replaces, err := r.unlock(ctx, h, old, luks2.AnySlot)
	if err != nil {
		return 0, 0, err
	}
	defer volume.Wipe()
	if err := half(h, replaces); err != nil {
		return 0, 0, err
	}

	for _, one := range renewals(h) {
		again, _, err := r.unlock(ctx, h, next.Passphrase, one.slot)
		again.Wipe()
		if err == nil && one.there(h) {
			return one.slot, one.old, nil
		}
	}
	token := renewed{Type: RenewalType, Replaces: strconv.Itoa(replaces), Was: fingerprint(h, replaces)}
	next.Token = func(slot int) json.RawMessage {
		token.Keyslots = []string{strconv.Itoa(slot)}
		text, err := json.Marshal(token)
		if err != nil {
			panic(err) // strings only
		}
		return text
	}
	if _, slot, err = h.AddKey(r.Disk, volume, next); err != nil {
		return 0, 0, err
	}
	return slot, replaces, r.prove(ctx, volume, next.Passphrase, slot)
}

// prove reads the disk again and opens the new keyslot.
func (r *Renewal) prove(ctx context.Context, volume luks2.VolumeKey, next secret.Bytes, slot int) error {
	h, err := luks2.ReadAny(r.Disk, r.SizeBytes)
	if err != nil {
		return err
	}
	again, _, err := r.unlock(ctx, h, next, slot)
	defer again.Wipe()
	if err == nil && again.MAC() != volume.MAC() {
		err = errors.New("it gives another volume key")
	}
	if err != nil {
		return fmt.Errorf("proving the new keyslot %d: %w", slot, err)
	}
	return nil
}

// Finish removes what the keyslot that a key opens replaces: the old keyslot,
// its tokens, and others that were to replace it, whose keys are lost. It
// returns those that it removed: none, if the key's keyslot replaces nothing.
func (r *Renewal) Finish(ctx context.Context, key secret.Bytes) (removed []int, err error) {
	h, err := r.read()
	if err != nil {
		return nil, err
	}
	for _, one := range renewals(h) {
		volume, _, err := r.unlock(ctx, h, key, one.slot)
		volume.Wipe()
		if errors.Is(err, luks2.ErrWrongKey) || errors.Is(err, luks2.ErrNoSlot) {
			continue
		}
		if err != nil {
			return removed, err
		}
		return r.end(h, one)
	}
	return nil, nil
}

// end removes the lost ones first: the token of the one that opens names the
// old keyslot until all is done.
func (r *Renewal) end(h *luks2.Header, one renewed) (removed []int, err error) {
	for _, lost := range renewals(h) {
		if lost.slot == one.slot || lost.old != one.old || lost.Was != one.Was {
			continue
		}
		if h, err = h.RemoveKey(r.Disk, lost.slot, only(h, lost.slot)...); err != nil {
			return removed, err
		}
		removed = append(removed, lost.slot)
	}
	if !one.there(h) {
		_, err = h.RemoveToken(r.Disk, one.token)
		return removed, err
	}
	if _, err = h.RemoveKey(r.Disk, one.old, append(only(h, one.old), one.token)...); err != nil {
		return removed, err
	}
	return append(removed, one.old), nil
}

// only are the tokens that name a keyslot and no other one.
func only(h *luks2.Header, slot int) (ids []int) {
	for _, t := range h.Tokens() {
		if slices.Equal(t.Keyslots, []int{slot}) {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

// read reads the header for a change, and mends what a cut has left: the
// operator runs it again because of one, perhaps.
func (r *Renewal) read() (*luks2.Header, error) {
	h, err := luks2.ReadAny(r.Disk, r.SizeBytes)
	if err != nil {
		return nil, err
	}
	return h.Mend(r.Disk)
}

func (r *Renewal) unlock(ctx context.Context, h *luks2.Header, key secret.Bytes, slot int) (luks2.VolumeKey, int, error) {
	return h.Unlock(ctx, r.Disk, luks2.Attempt{Passphrase: key, Slot: slot, Memory: r.Memory})
}
