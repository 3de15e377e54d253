// Package keyfile is the source of keys in files: in the image, or on a
// device that somebody plugs in, such as a USB stick.
package keyfile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/source"
)

// A File says where in a device, or in the image, a key is.
type File struct {
	Path   string // on the device's file system; "" is the device itself
	Offset int64  // of the key, in bytes
	Size   int64  // of the key, in bytes; 0 is up to the end of the file
	// Max is the most that may be there, in bytes; 0 is MaxBytes. What is more
	// is not read, and a device counts as a file.
	Max int64
}

// A Device is one that may hold the file.
type Device struct {
	Path   string // "/dev/sda1"
	FSType string // the file system on it, "" if none is recognized
	ID     string // another one's is another
	Opened bool   // it is a volume of the plan that was opened: no stranger's
}

// A KeyFile looks for a file and has its content tried, byte for byte, as
// cryptsetup --key-file does.
type KeyFile struct {
	Name string // for people: "the key file shop.key on LABEL=KEYS"
	File File
	// Wait is how long a device is looked for; 0 is for ever.
	Wait time.Duration
	// Devices are those that are there now and may hold the file. A nil
	// Devices stands for the image: there is one Device, the empty one.
	Devices func(ctx context.Context) []Device
	// Read reads the file of a device.
	Read func(Device, File) (secret.Bytes, error)
	Log  *slog.Logger
}

// pause is how long it takes at most until a device is noticed.
const pause = time.Second

// Codes of this package.
const (
	CodeMissing = "key-file-missing" // neither the device nor the file is there: final
	CodeWrong   = "key-file-wrong"   // no keyslot takes what is in it: final
)

// Run implements source.Source. Every device that may hold the file is asked
// once; one with a key that opens nothing does not end the search.
func (k *KeyFile) Run(ctx context.Context, to source.Opener) error {
	if k.Devices == nil {
		return k.once(ctx, to, Device{})
	}
	var end <-chan time.Time
	if k.Wait > 0 {
		t := time.NewTimer(k.Wait)
		defer t.Stop()
		end = t.C
	}

	asked := map[Device]bool{}
	why := codes.Fail(CodeMissing, "%s: no such device is there", k.Name)
	for {
		for _, d := range k.Devices(ctx) {
			if asked[d] || ctx.Err() != nil {
				continue
			}
			asked[d] = true
			if err := k.once(ctx, to, d); err != nil {
				why = err
				k.Log.Warn("a device does not open the volumes", "device", d.Path, "err", err)
			}
			if len(to.Closed()) == 0 {
				return nil
			}
		}

		select {
		case <-time.After(pause):
		case <-end:
			return why
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// once has the key of one device tried on all volumes that are closed. Its
// error is why one of those that the boot waits for still is.
func (k *KeyFile) once(ctx context.Context, to source.Opener, d Device) error {
	key, err := k.Read(d, k.File)
	if err != nil {
		return codes.Fail(CodeMissing, "%s: %w", k.Name, err)
	}
	defer key.Wipe()
	var offer source.Offer
	for _, v := range to.Closed() {
		offer.Keys = append(offer.Keys, source.Key{Volume: v, Passphrases: func(context.Context) ([]unlock.Candidate, error) {
			return []unlock.Candidate{{Passphrase: key.Clone()}}, nil
		}})
	}
	var errs []error
	for i, err := range to.Try(ctx, offer) {
		switch {
		case err == nil || !to.Needed(offer.Keys[i].Volume):
		case codes.Of(err) == unlock.CodeWrongKey:
			errs = append(errs, codes.Fail(CodeWrong, "%s: %w", k.Name, err))
		default:
			errs = append(errs, fmt.Errorf("%s: %w", k.Name, err))
		}
	}
	return errors.Join(errs...)
}
