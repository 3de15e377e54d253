package worker

import (
	"context"
	"fmt"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/source"
	"latchkey/unlock/source/keyfile"
	"latchkey/unlock/source/talos"
)

// locked splits an offer: what can be tried now, and what waits for another
// volume in which its salt is (lockToState of Talos).
func (o *openings) locked(offer source.Offer) (now, later source.Offer) {
	now.Taken = offer.Taken
	for _, k := range offer.Keys {
		if state := o.state(o.of(k.Volume)); k.Err == nil && state != nil && !state.isOpen() {
			later.Keys = append(later.Keys, k)
		} else {
			now.Keys = append(now.Keys, k)
		}
	}
	return now, later
}

// state is the volume that another is locked to, nil if it is to none.
func (o *openings) state(v *opening) *opening {
	if v.disk.planned.LockedTo == "" {
		return nil
	}
	for _, s := range o.all {
		if s.disk.Name == v.disk.planned.LockedTo {
			return s
		}
	}
	return nil
}

func (v *opening) isOpen() bool {
	select {
	case <-v.opens:
		return true
	default:
		return false
	}
}

// awaitStates waits until what the keys of an offer are locked to is open.
func (o *openings) awaitStates(ctx context.Context, offer source.Offer) error {
	for _, k := range offer.Keys {
		select {
		case <-o.state(o.of(k.Volume)).opens:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// salted puts the salt behind passphrases, each of which then comes in two
// forms: a volume may have keys that are locked, and others.
func (w *worker) salted(o *openings, v *opening, keys []unlock.Candidate) ([]unlock.Candidate, error) {
	state := o.state(v)
	if state == nil {
		return keys, nil
	}
	salt, err := w.readSalt(state.disk.Name)
	if err != nil {
		wipeAll(keys)
		return nil, codes.Fail(talos.CodeSalt, "reading %s of %s, which Talos locked %s to: %w", talos.SaltFile, state.disk.Name, v.disk.Name, err)
	}
	defer salt.Wipe()
	var both []unlock.Candidate
	for _, k := range keys {
		long := k
		long.Passphrase = secret.Make(k.Passphrase.Len() + salt.Len())
		copy(long.Passphrase.Reveal()[copy(long.Passphrase.Reveal(), k.Passphrase.Reveal()):], salt.Reveal())
		both = append(both, long, k)
	}
	return both, nil
}

func (w *worker) readSalt(name string) (secret.Bytes, error) {
	path := "/dev/mapper/" + name
	f, err := w.sys.Open(path, false)
	if err != nil {
		return secret.Bytes{}, err
	}
	super, _ := device.Probe(f)
	f.Close()
	d := keyfile.Device{Path: path, FSType: super.Type, Opened: true}
	if d.FSType == "" {
		return secret.Bytes{}, fmt.Errorf("no file system is recognized in %s", path)
	}
	text, err := w.readKey(d, keyfile.File{Path: talos.SaltFile})
	if err != nil {
		return secret.Bytes{}, err
	}
	defer text.Wipe()
	return talos.ParseSalt(text)
}
