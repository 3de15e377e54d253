package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"filippo.io/age"

	"latchkey/internal/escrow"
	"latchkey/internal/meminfo"
	"latchkey/kms"
	"latchkey/unlock/luks2"
	"latchkey/unlock/tpm"
)

// sealedField names, in the token of a recovery key, the digest of its sealed
// form: so the header says which keyslot is which sealed key's.
const sealedField = "latchkey-sealed"

// An escrowing makes recovery keys that are sealed for people, and leaves them
// with the key server that the plan trusts.
type escrowing struct {
	client *kms.Client
	urls   []string
	id     *tpm.Identity
	to     []string // whom the owner wants them sealed to
	say    func(format string, args ...any)
}

// A sealedSlot is a keyslot whose recovery key is sealed.
type sealedSlot struct {
	slot int
	kms.Escrow
}

// sealedKey is the SHA-256 of the sealed key of a recovery key's token; nil if
// it has none.
func sealedKey(t luks2.Token) []byte {
	var token struct {
		Sealed string `json:"latchkey-sealed"`
	}
	if t.Type != recoveryType || json.Unmarshal(t.JSON, &token) != nil || len(t.Keyslots) != 1 {
		return nil
	}
	key, err := hex.DecodeString(token.Sealed)
	if err != nil || len(key) != 32 {
		return nil
	}
	return key
}

// sealedSlots are those of a header, as they are on the disk.
func sealedSlots(h *luks2.Header, s luks2.Storage) (all []sealedSlot, err error) {
	for _, t := range h.Tokens() {
		key := sealedKey(t)
		if key == nil {
			continue
		}
		one := sealedSlot{t.Keyslots[0], kms.Escrow{Key: [32]byte(key)}}
		if one.Evidence, err = h.Evidence(s, one.slot); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// word is what a volume's header says of its sealed keys.
func word(uuid kms.UUID, slots []sealedSlot) kms.RecoveryWord {
	w := kms.RecoveryWord{UUID: uuid}
	for _, s := range slots {
		w.Escrows = append(w.Escrows, s.Escrow)
	}
	return w
}

// ask tells one key server after the other, until one decides.
func (e *escrowing) ask(ctx context.Context, wants []kms.Want, words []kms.RecoveryWord) (reply *kms.RecoveryReply, err error) {
	for _, url := range e.urls {
		if reply, err = e.client.Recovery(ctx, url, e.id, wants, words); err == nil || refusedBy(err) {
			break
		}
	}
	if err == nil && !slices.EqualFunc(reply.Volumes, wants, func(v kms.RecoveryState, w kms.Want) bool { return v.UUID == w.UUID }) {
		err = errors.New("it answers for other volumes")
	}
	if err != nil {
		return nil, kmsExit(fmt.Errorf("this machine is %q: %w", e.id.NodeID().Words(), err), e.id.NodeID().Words())
	}
	return reply, nil
}

// make adds a recovery key whose sealed form the key server has: sealed with
// what it is for, seen to open its keyslot, and left there, in this order. If
// the key server does not say that it took it, the keyslot goes again; cut
// before that, one is left that nobody has the key of, and a later "volume
// prove-recovery" removes it.
func (e *escrowing) make(ctx context.Context, s luks2.Storage, sizeBytes int64, volume luks2.VolumeKey) (r recoveryKey, err error) {
	uuid, err := kms.ParseUUID(volume.UUID())
	if err != nil {
		return r, err
	}
	to, err := escrow.Recipients(e.to)
	if err != nil {
		return r, err
	}
	r, sealed, err := e.add(s, sizeBytes, volume, to)
	if err != nil {
		return r, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, withdrawRecovery(s, sizeBytes, r.slot))
			r.text.Wipe()
		}
	}()
	h, err := luks2.ReadAny(s, sizeBytes)
	if err != nil {
		return r, err
	}
	again, _, err := h.Unlock(ctx, s, luks2.Attempt{Passphrase: r.text, Slot: r.slot})
	defer again.Wipe()
	if err == nil && again.MAC() != volume.MAC() {
		err = errors.New("it yields a different volume key")
	}
	if err != nil {
		return r, fmt.Errorf("checking the new keyslot %d: %w", r.slot, err)
	}
	return r, e.leave(ctx, h, s, kms.Want{UUID: uuid, Digest: h.SubsetDigest(), SeqID: h.SeqID()}, sealed)
}

// add puts a key into the volume whose token names its sealed form.
func (e *escrowing) add(s luks2.Storage, sizeBytes int64, volume luks2.VolumeKey, to []age.Recipient) (r recoveryKey, sealed []byte, err error) {
	uuid, err := kms.ParseUUID(volume.UUID())
	if err != nil {
		return r, nil, err
	}
	r.text = newRecoveryText()
	var failed error
	h, err := luks2.ReadAny(s, sizeBytes)
	if err == nil {
		_, r.slot, err = h.AddKey(s, volume, luks2.NewKey{
			Passphrase: r.text, Slot: luks2.AnySlot, MemoryKiB: recoveryMemoryKiB(meminfo.Total()),
			Token: func(slot int) json.RawMessage {
				sealed, failed = escrow.Seal(escrow.Key{Volume: uuid, Machine: e.id.NodeID(), Keyslot: slot, Made: time.Now(), Text: r.text}, to)
				return fmt.Appendf(nil, `{"type":%q,"keyslots":["%d"],%q:"%x"}`, recoveryType, slot, sealedField, escrow.Digest(sealed))
			},
		})
	}
	if err == nil && failed != nil {
		err = errors.Join(failed, withdrawRecovery(s, sizeBytes, r.slot))
	}
	if err != nil {
		r.text.Wipe()
	}
	return r, sealed, err
}

// leave gives the key server the sealed key of a keyslot that was seen to open.
func (e *escrowing) leave(ctx context.Context, h *luks2.Header, s luks2.Storage, want kms.Want, sealed []byte) error {
	slots, err := sealedSlots(h, s)
	if err != nil {
		return err
	}
	w := word(want.UUID, slots)
	w.Sealed, w.To = sealed, kms.RecipientsDigest(e.to)
	var reply *kms.RecoveryReply
	for try := range putTries { // the same one again is no error to the key server
		if try > 0 {
			e.say("the key server may not have the sealed key yet: asking again (try %d of %d): %v", try+1, putTries, err)
			if err := rest(ctx, time.Second<<try); err != nil {
				return err
			}
		}
		if reply, err = e.ask(ctx, []kms.Want{want}, []kms.RecoveryWord{w}); err == nil || refusedBy(err) {
			break
		}
	}
	if err != nil {
		return err
	}
	if v := reply.Volumes[0]; v.Status != kms.OK || v.Current != escrow.Digest(sealed) && v.Next != escrow.Digest(sealed) {
		return fmt.Errorf("leaving the sealed recovery key of volume %s: the key server says %s", want.UUID, v.Status.Code())
	}
	return nil
}

// withdrawRecovery removes a keyslot that nobody has the key of.
func withdrawRecovery(s luks2.Storage, sizeBytes int64, slot int) error {
	h, err := luks2.ReadAny(s, sizeBytes)
	if err == nil {
		_, err = h.RemoveKey(s, slot, tokensOnly(h, slot)...)
	}
	if err != nil {
		return fmt.Errorf("keyslot %d is not used by anybody and could not be removed: %w", slot, err)
	}
	return nil
}
