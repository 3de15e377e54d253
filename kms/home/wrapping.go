package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"latchkey/internal/datafile"
	"latchkey/internal/secret"
	"latchkey/kms/config"
	"latchkey/kms/server"
	"latchkey/kms/wrapping"
)

// A WrappingChange is what ChangeWrapping does.
type WrappingChange struct {
	To   config.Wrapping              // where the key is to be; if it says nothing, where it was
	Keep bool                         // the key; else a new one is made
	PCRs []int                        // that a TPM holds it to
	Hand func([]wrapping.Share) error // gives new shares to people
	Say  func(line string)            // of what is to be done after it; nil: nobody listens
}

// ChangeWrapping makes a new wrapping key, or moves the one there is, and
// returns in words where it is kept now. The new material is on the disk
// before the database changes, and takes its place after that.
func (h Home) ChangeWrapping(ctx context.Context, c WrappingChange) (kept string, err error) {
	from := h.keeping()
	next := from
	if !c.To.None() {
		next = keepingOf(c.To, h.Data)
	}
	next.ask, next.hand = h.Ask, c.Hand
	if err := h.changeWrapping(ctx, from, next, c); err != nil {
		return "", fmt.Errorf("changing the wrapping key: %w", err)
	}
	return next.describe(), nil
}

func (h Home) changeWrapping(ctx context.Context, from, next keeping, c WrappingChange) error {
	up, err := h.Running(ctx)
	if err != nil {
		return err
	}
	if up {
		return errors.New("the server is running; stop it first")
	}
	if next.material == "" {
		return errors.New("the key is a systemd credential, which only systemd-creds can write; write it to a file with --to-key, then encrypt that file")
	}
	if h.AnyMode {
		if err := h.apart(next); err != nil {
			return err
		}
	}
	if _, err := os.Stat(next.material); err == nil && next.material != from.material {
		if info, err := os.Stat(next.material); err == nil && info.IsDir() {
			return fmt.Errorf("%s is a folder: name a file in it that is not there yet, such as %s; nothing was changed", next.material, filepath.Join(next.material, "wrapping.key"))
		}
		return fmt.Errorf("%s already exists; nothing was changed", next.material)
	}

	s, err := h.Open(ctx, server.Config{}) // finishes a change that was cut short
	if err != nil {
		return err
	}
	defer s.Close()
	old, err := from.read(ctx, from.material)
	if err != nil {
		return err
	}
	defer old.Wipe()

	var key secret.Bytes
	if c.Keep {
		key = old.Clone()
	}
	if key, err = next.put(ctx, next.fresh(), key, c.PCRs); err != nil {
		return err
	}
	defer key.Wipe()

	if err := s.ChangeWrapping(ctx, old, key); err != nil {
		return err
	}
	if changing, _, err := s.ChangingDataKey(); err == nil && changing && c.Say != nil && !c.Keep {
		c.Say("the data key is being changed, and the new one was wrapped by the old wrapping key, too: once that is done, run latchkey-kms store rekey again")
	}
	if err := keepMaterial(next.material); err != nil {
		return err
	}
	return datafile.Replace(next.fresh(), next.material)
}

// keepMaterial gives what a change is about to replace another name, too:
// backups that were made before are opened by nothing else.
func keepMaterial(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	before, err := free(path + ".before")
	if err != nil {
		return err
	}
	return keepBefore(path, before)
}

// Kept says in words where the wrapping key is kept.
func (h Home) Kept() string { return h.keeping().describe() }

// describe says where a key is kept, with the flag that names it.
func (k keeping) describe() string {
	switch {
	case k.material == "":
		return "as a systemd credential"
	case k.TPM != "":
		return fmt.Sprintf("in %s, sealed to the TPM: --wrapping-tpm %s", k.material, k.TPM)
	case k.Passphrase != "":
		return fmt.Sprintf("in nothing but its passphrase and %s: --wrapping-passphrase %s", k.material, k.Passphrase)
	}
	if k.Exec.Set() {
		return fmt.Sprintf("in %s, as %s decrypts it: wrapping.exec", k.material, k.Exec.Unwrap[0])
	}
	if k.Transit.Set() {
		return fmt.Sprintf("in %s, as %s decrypts it: wrapping.transit", k.material, k.Transit.Address)
	}
	if k.Shares != "" {
		return fmt.Sprintf("by people, in shares that %s knows: wrapping.shares: %s", k.material, k.Shares)
	}
	return fmt.Sprintf("in %s: --wrapping-key %[1]s", k.material)
}
