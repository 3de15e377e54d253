package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"latchkey/internal/disk"
	"latchkey/internal/meminfo"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/luks2"
)

// A recoveryKey opens a volume when TPM or KMS are no more.
type recoveryKey struct {
	text secret.Bytes
	slot int
}

// recoveryLetters are modhex, as systemd-cryptenroll's recovery keys: keys
// that nearly all keyboard layouts have in the same place, so that it can
// be typed before a layout is loaded.
const recoveryLetters = "cbdefghijklnrtuv"

// Letters carry four bits each: 128 in all, in groups to be copied by hand.
const (
	recoveryGroups     = 8
	recoveryGroupChars = 4
)

// newRecoveryText is a recovery key as it is typed, dashes included.
func newRecoveryText() secret.Bytes {
	raw := secret.Random(recoveryGroups * recoveryGroupChars)
	defer raw.Wipe()
	text := secret.Make(recoveryGroups*(recoveryGroupChars+1) - 1)
	out := text.Reveal()[:0]
	for i, b := range raw.Reveal() {
		if i > 0 && i%recoveryGroupChars == 0 {
			out = append(out, '-')
		}
		out = append(out, recoveryLetters[b%byte(len(recoveryLetters))])
	}
	return text
}

// recoveryMemoryKiB is argon2's memory for a recovery key that must open on
// this machine when it boots: a quarter of what it has, at most 256 MiB; 0,
// the default, when it does not tell.
func recoveryMemoryKiB(totalBytes int64) int {
	return int(min(totalBytes>>10/4, 256<<10))
}

// recoveryType is the type of the token by which systemd-cryptenroll marks a
// recovery key: it lists and wipes ours as its own
// (src/cryptenroll/cryptenroll-recovery.c).
const recoveryType = "systemd-recovery"

func recoveryToken(slot int) json.RawMessage {
	return fmt.Appendf(nil, `{"type":%q,"keyslots":["%d"]}`, recoveryType, slot)
}

// hasRecovery tells whether a header names a keyslot as a recovery key's, one
// that is sealed if that is wanted.
func hasRecovery(h *luks2.Header, sealed bool) bool {
	return slices.ContainsFunc(h.Tokens(), func(t luks2.Token) bool {
		return t.Type == recoveryType && len(t.Keyslots) > 0 && (!sealed || bytes.Contains(t.JSON, []byte(sealedField)))
	})
}

// addRecovery puts a recovery key into the volume and sees it open.
func addRecovery(s luks2.Storage, sizeBytes int64, volume luks2.VolumeKey) (r recoveryKey, err error) {
	r.text = newRecoveryText()
	defer func() {
		if err != nil {
			r.text.Wipe()
		}
	}()

	h, err := luks2.ReadAny(s, sizeBytes)
	if err != nil {
		return r, err
	}

	h, r.slot, err = h.AddKey(s, volume, luks2.NewKey{
		Passphrase: r.text, Slot: luks2.AnySlot, MemoryKiB: recoveryMemoryKiB(meminfo.Total()), Token: recoveryToken,
	})
	if err != nil {
		return r, err
	}

	again, _, err := h.Unlock(context.Background(), s, luks2.Attempt{Passphrase: r.text, Slot: r.slot})
	defer again.Wipe()
	return r, err
}

// unseen is the error of printing the key: nobody has it.
func (r recoveryKey) unseen(err error) error {
	return fmt.Errorf("printing the recovery key: %w; nobody has the key of keyslot %d: latchkey volume remove-key --slot %[2]d --key-file FILE DEVICE removes it", err, r.slot)
}

// takeBack removes a key that could not be printed.
func (r recoveryKey) takeBack(f *disk.File, err error) error {
	h, readErr := luks2.ReadAny(f, f.SizeBytes)
	if readErr == nil {
		_, readErr = h.RemoveKey(f, r.slot, tokensOnly(h, r.slot)...)
	}
	if readErr != nil {
		return errors.Join(r.unseen(err), readErr)
	}
	return fmt.Errorf("printing the recovery key: %w; its keyslot %d was removed again", err, r.slot)
}

// enrolled is what an enrollment made.
type enrolled struct {
	UUID    kms.UUID
	Mode    kms.Kind
	Keyslot int
	NodeID  kms.NodeID
	Words   string

	already  bool // it was enrolled before
	recovery *recoveryKey
	sealed   bool // its sealed form is with the KMS
	quiet    bool // it is not printed
}

// print shows it, the recovery key for the only time.
func (e enrolled) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return e.printJSON(w)
	}
	line := "enrolled volume %s: keyslot %d, %s, machine %q\n"
	if e.already {
		line = "volume %s is already enrolled: keyslot %d, %s, machine %q; nothing was changed, and the next boot uses it\n"
	}
	_, err := fmt.Fprintf(w, line, e.UUID, e.Keyslot, e.Mode, e.Words)
	if e.recovery == nil || err != nil {
		return err
	}
	if e.sealed {
		fmt.Fprintf(w, "recovery key (keyslot %d): sealed, and left with the key server; the next boot proves it\n", e.recovery.slot)
	}
	if e.quiet {
		return nil
	}
	fmt.Fprintf(w, "recovery key (keyslot %d), shown only now; write it down, dashes and all:\n\n    ", e.recovery.slot)
	if err := e.recovery.write(w, "", "\n\n"); err != nil {
		return e.recovery.unseen(err)
	}
	_, err = fmt.Fprintln(w, "To type it at the console of a boot, list the source prompt in latchkey.yaml: sources: [kms, prompt]")
	return err
}

func (e enrolled) printJSON(w io.Writer) error {
	_, err := fmt.Fprintf(w, `{"uuid": %q, "mode": %q, "keyslot": %d, "node_id": %q, "words": %q`,
		e.UUID, e.Mode, e.Keyslot, e.NodeID, e.Words)
	if e.recovery != nil {
		fmt.Fprintf(w, `, "recovery_keyslot": %d, "recovery_sealed": %t`, e.recovery.slot, e.sealed)
	}
	if e.recovery != nil && !e.quiet {
		fmt.Fprint(w, `, "recovery_key": `)
		err = errors.Join(err, e.recovery.write(w, `"`, `"`))
	}
	_, end := io.WriteString(w, "}\n")
	if err = errors.Join(err, end); err != nil && e.recovery != nil {
		return e.recovery.unseen(err)
	}
	return err
}

// write lets the key pass through no string.
func (r *recoveryKey) write(w io.Writer, before, after string) error {
	line := slices.Concat([]byte(before), r.text.Reveal(), []byte(after))
	defer clear(line)
	_, err := w.Write(line)
	return err
}
