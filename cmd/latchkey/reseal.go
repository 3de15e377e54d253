package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/cryptenroll"
)

// A resealing gives keyslots that the TPM opens another one beside them, for
// PCRs of a boot to come:
//
//  1. stage adds a keyslot for a secret that is sealed to the values to come,
//     with a token that names the keyslot that it replaces
//  2. a boot with those values opens the new one
//  3. finish removes the old keyslot, if a boot used the new one
//
// Until 3 both are there: whether the change comes or not, one opens.
type resealing struct {
	disk      luks2.Storage
	sizeBytes int64
	boot      string // names this boot, by its report; "" if that is none of latchkey
}

// A resealed is a keyslot that was added.
type resealed struct {
	Keyslot  int    `json:"keyslot"`
	Replaces int    `json:"replaces"`
	What     string `json:"what"`
	Sealed   string `json:"sealed"` // for the plan
}

// bound are the tokens that the TPM opens only with certain values of PCRs.
func bound(h *luks2.Header) (all []boundToken) {
	for _, t := range h.Tokens() {
		if t.Type != cryptenroll.TokenType || len(t.Keyslots) != 1 {
			continue
		}
		s, err := cryptenroll.Read(t.JSON)
		if err != nil || len(s.PCRs) == 0 {
			continue // inspect says why
		}
		all = append(all, boundToken{t, s, t.Keyslots[0]})
	}
	return all
}

type boundToken struct {
	luks2.Token
	cryptenroll.Sealing
	slot int
}

// waits tells whether the token is for a boot to come, and the very keyslot
// that it replaces is there.
func (b boundToken) waits(h *luks2.Header) bool {
	return b.Replaces != nil && b.Replaces.Slot != b.slot && b.Replaces.Was != "" && b.Replaces.Was == unlock.Fingerprint(h, b.Replaces.Slot)
}

// stage adds a keyslot for each that is bound to one of the PCRs.
func (r resealing) stage(ctx context.Context, chip cryptenroll.Binder, volume luks2.VolumeKey, values map[int][32]byte) (made []resealed, err error) {
	h, err := r.read()
	if err != nil {
		return nil, err
	}
	for _, b := range bound(h) {
		mine := maps.Clone(values)
		maps.DeleteFunc(mine, func(n int, _ [32]byte) bool { return !slices.Contains(b.PCRs, n) })
		if len(mine) == 0 || b.waits(h) {
			continue
		}
		request := b.Request
		request.Values, request.Replaces = mine, &cryptenroll.Replaced{Slot: b.slot, Was: unlock.Fingerprint(h, b.slot), Boot: r.boot}
		passphrase, token, err := cryptenroll.Bind(ctx, chip, request)
		if err != nil {
			return made, err
		}
		one, after, err := r.add(ctx, h, volume, passphrase, token)
		passphrase.Wipe()
		if err != nil {
			return made, err
		}
		one.Replaces = b.slot
		made = append(made, one)
		if h, err = r.withdraw(after, one); err != nil {
			return made, err
		}
	}
	return made, nil
}

// add adds one keyslot and opens it from the disk.
func (r resealing) add(ctx context.Context, h *luks2.Header, volume luks2.VolumeKey, passphrase secret.Bytes, token func(int) json.RawMessage) (one resealed, after *luks2.Header, err error) {
	var text json.RawMessage
	after, slot, err := h.AddKey(r.disk, volume, luks2.NewKey{Passphrase: passphrase, Slot: luks2.AnySlot, Random: true, Token: func(slot int) json.RawMessage {
		text = token(slot)
		return text
	}})
	if err != nil {
		return one, nil, err
	}
	again, _, err := after.Unlock(ctx, r.disk, luks2.Attempt{Passphrase: passphrase, Slot: slot})
	again.Wipe()
	d := cryptenroll.Describe(text)
	return resealed{Keyslot: slot, What: d.What, Sealed: d.Sealed}, after, err
}

// withdraw removes what an earlier announcement made for the same keyslot.
func (r resealing) withdraw(h *luks2.Header, now resealed) (*luks2.Header, error) {
	for _, b := range bound(h) {
		if b.slot == now.Keyslot || !b.waits(h) || b.Replaces.Slot != now.Replaces {
			continue
		}
		var err error
		if h, err = h.RemoveKey(r.disk, b.slot, tokensOnly(h, b.slot)...); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// finish removes the keyslots whose successor opened the volume in this boot,
// and returns them. waiting are keyslots that no boot has used yet: the boot
// that announced one opened the volume by another, whatever number that had.
func (r resealing) finish(opened int) (removed, waiting []int, err error) {
	h, err := r.read()
	if err != nil {
		return nil, nil, err
	}
	for _, b := range bound(h) {
		switch {
		case b.Replaces == nil:
			continue
		case b.waits(h) && (b.slot != opened || b.Replaces.Boot == r.boot):
			waiting = append(waiting, b.slot)
			continue
		case b.waits(h):
			if h, err = h.RemoveKey(r.disk, b.Replaces.Slot, tokensOnly(h, b.Replaces.Slot)...); err != nil {
				return removed, waiting, err
			}
			removed = append(removed, b.Replaces.Slot)
		}
		text, err := cryptenroll.Settled(b.JSON)
		if err != nil {
			return removed, waiting, err
		}
		if h, _, err = h.SetToken(r.disk, b.Token.ID, text); err != nil {
			return removed, waiting, err
		}
	}
	return removed, waiting, nil
}

// read reads the header for a change, and mends what a cut has left.
func (r resealing) read() (*luks2.Header, error) {
	h, err := luks2.ReadAny(r.disk, r.sizeBytes)
	if err != nil {
		return nil, err
	}
	return h.Mend(r.disk)
}

// errNothingBound is wrapped where no keyslot is bound to a PCR that changes.
var errNothingBound = errors.New("no keyslot is bound to that")

// concerned refuses PCRs to which nothing is bound, and says what is.
func concerned(h *luks2.Header, values map[int][32]byte) error {
	pcrs := map[int]bool{}
	for _, b := range bound(h) {
		for _, n := range b.PCRs {
			pcrs[n] = true
		}
	}
	for n := range values {
		if !pcrs[n] {
			return fmt.Errorf("PCR %d: %w: the TPM's keyslots of volume %s are bound to the values of PCRs %d", n, errNothingBound, h.UUID(), slices.Sorted(maps.Keys(pcrs)))
		}
	}
	return nil
}
