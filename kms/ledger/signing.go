package ledger

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// A KMS may have several signing keys: images trust all of them, and the
// first in order that a node's image trusts signs for it. To change the key:
// add one, build images that trust both, use the new one, retire the old one
// when no image is left that trusts it alone.

// maxKeys is how many keys an image can pin.
const maxKeys = kms.MaxPins

// keysEvery is how often replicas look whether another changed the keys.
const keysEvery = time.Minute

// Pins are the public keys that go into a plan: all that sign, or will.
func (l *Ledger) Pins() []kms.Pin {
	var pins []kms.Pin
	for _, k := range l.Signing() {
		pins = append(pins, PinOf(k))
	}
	return pins
}

// PinOf is a signing key's public half.
func PinOf(k ed25519.PrivateKey) kms.Pin { return kms.Pin(k.Public().(ed25519.PublicKey)) }

// Signing are the keys, in order. Where replicas share the store another may
// have changed them; one that cannot be read leaves those that we have.
func (l *Ledger) Signing() []ed25519.PrivateKey {
	now := l.Now()
	if last := time.Duration(l.keysRead.Load()); l.shared && now-last > keysEvery && l.keysRead.CompareAndSwap(int64(last), int64(now)) {
		if err := l.Read(l.loadKeys); err != nil {
			l.log.Error("reading the signing keys again", "err", err)
		}
	}
	return *l.keys.Load()
}

// loadKeys reads the signing keys: Ed25519 seeds, one after the other.
func (l *Ledger) loadKeys(v View) error {
	seeds, epoch, err := v.keys.open(place{tableMeta, keySigning, 0}, v.r.Get(tableMeta, keySigning))
	if err != nil {
		return err
	}
	defer clear(seeds)
	st, err := v.readState()
	if err != nil {
		return err
	}
	if len(seeds) == 0 || len(seeds)%ed25519.SeedSize != 0 || epoch > st.epoch {
		return fmt.Errorf("reading the signing keys: %w", ErrUnverified)
	}
	l.setKeys(seeds)
	return nil
}

func (l *Ledger) setKeys(seeds []byte) {
	var keys []ed25519.PrivateKey
	for one := range slices.Chunk(seeds, ed25519.SeedSize) {
		keys = append(keys, ed25519.NewKeyFromSeed(one))
	}
	l.keys.Store(&keys)
}

// changeKeys changes the list of seeds in one transaction.
func (l *Ledger) changeKeys(ctx context.Context, event string, change func(t *Txn, keys []ed25519.PrivateKey) (after []ed25519.PrivateKey, pin kms.Pin, err error)) (Trust, error) {
	var seeds []byte
	defer func() { clear(seeds) }()
	err := l.Update(ctx, func(t *Txn) error {
		if err := l.loadKeys(t.View); err != nil {
			return err
		}
		after, pin, err := change(t, slices.Clone(*l.keys.Load()))
		if err != nil {
			return err
		}

		clear(seeds)
		seeds = seeds[:0]
		for _, k := range after {
			seeds = append(seeds, k.Seed()...)
		}
		t.Bump()
		sealed := t.View.keys.seal(place{tableMeta, keySigning, 0}, t.state.epoch, seeds)
		if err := t.put(tableMeta, keySigning, sealed); err != nil {
			return err
		}

		return t.Note(Event{Event: "trust " + event, From: Who(ctx), Detail: pin.String()})
	})
	if err != nil {
		return Trust{}, err
	}

	l.setKeys(seeds)
	return l.Trust(), nil
}

// AddKey makes another signing key, which signs for nodes that trust no
// earlier one.
func (l *Ledger) AddKey(ctx context.Context) (Trust, error) {
	return l.changeKeys(ctx, "add", func(_ *Txn, keys []ed25519.PrivateKey) ([]ed25519.PrivateKey, kms.Pin, error) {
		if len(keys) >= maxKeys {
			return nil, kms.Pin{}, fmt.Errorf("adding a key: %w: there are %d, as many as an image can trust", ErrRefused, len(keys))
		}
		seed := secret.Random(ed25519.SeedSize)
		defer seed.Wipe()
		k := ed25519.NewKeyFromSeed(seed.Reveal())
		return append(keys, k), PinOf(k), nil
	})
}

// UseKey makes a key the first in order.
func (l *Ledger) UseKey(ctx context.Context, pin kms.Pin) (Trust, error) {
	return l.changeKeys(ctx, "use", func(_ *Txn, keys []ed25519.PrivateKey) ([]ed25519.PrivateKey, kms.Pin, error) {
		i, err := indexOf(keys, pin)
		if err != nil {
			return nil, pin, err
		}
		k := keys[i]
		return slices.Insert(slices.Delete(keys, i, i+1), 0, k), pin, nil
	})
}

// signingGraves are of keys that were retired, by signingKey; what is kept is
// the seed.
var signingGraves = &Graveyard{Table: tableKeys, Mine: isSigning, Event: "trust destroy", Destroy: func(_ *Txn, key []byte, _ Grave) (Event, error) {
	return Event{Detail: kms.Pin(key[1:]).String()}, nil
}}

func isSigning(key []byte) bool { return len(key) == 1+ed25519.PublicKeySize && key[0] == 1 }

// signingKey is no key of a ring: their names begin with a letter.
func signingKey(pin kms.Pin) []byte { return append([]byte{1}, pin[:]...) }

// RetireSigningKey takes a key out of use. The first one is not retired:
// another takes its place before. It can be had again for the grace; now, or
// without a grace, it is destroyed, also if it was retired before.
func (l *Ledger) RetireSigningKey(ctx context.Context, pin kms.Pin, now bool) (Trust, error) {
	return l.changeKeys(ctx, "retire", func(t *Txn, keys []ed25519.PrivateKey) ([]ed25519.PrivateKey, kms.Pin, error) {
		if now && t.View.Has(tableKeys, signingGraves.At(signingKey(pin))) {
			return keys, pin, t.Unbury(signingGraves, signingKey(pin))
		}
		i, err := indexOf(keys, pin)
		if err == nil && i == 0 {
			err = fmt.Errorf("retiring a key: %w: it is the one that signs; use another first", ErrRefused)
		}
		if err == nil && !now && l.Grace() > 0 {
			err = t.Bury(signingGraves, signingKey(pin), keys[i].Seed(), Who(ctx))
		}
		if err != nil {
			return nil, pin, err
		}
		return slices.Delete(keys, i, i+1), pin, nil
	})
}

// UndeleteSigningKey gives back a key that was retired, within its grace, as
// the last in order.
func (l *Ledger) UndeleteSigningKey(ctx context.Context, pin kms.Pin) (Trust, error) {
	return l.changeKeys(ctx, "undelete", func(t *Txn, keys []ed25519.PrivateKey) ([]ed25519.PrivateKey, kms.Pin, error) {
		g, found, err := t.View.Buried(signingGraves, signingKey(pin))
		defer clear(g.Kept)
		switch {
		case err != nil:
			return nil, pin, err
		case !found:
			return nil, pin, fmt.Errorf("undeleting key %s: %w: it was not retired, or is destroyed", pin, ErrNotFound)
		case len(g.Kept) != ed25519.SeedSize:
			return nil, pin, fmt.Errorf("undeleting key %s: %w", pin, ErrUnverified)
		case len(keys) >= maxKeys:
			return nil, pin, fmt.Errorf("undeleting a key: %w: there are %d, as many as an image can trust", ErrRefused, len(keys))
		}
		return append(keys, ed25519.NewKeyFromSeed(g.Kept)), pin, t.Unbury(signingGraves, signingKey(pin))
	})
}

func indexOf(keys []ed25519.PrivateKey, pin kms.Pin) (int, error) {
	i := slices.IndexFunc(keys, func(k ed25519.PrivateKey) bool { return PinOf(k) == pin })
	if i < 0 {
		return i, fmt.Errorf("looking for key %s: %w", pin, ErrNotFound)
	}
	return i, nil
}

// Trust is what goes into a node's plan: the first key signs for nodes that
// Trust several.
type Trust struct {
	KMS []string `json:"kms"`
}

func (l *Ledger) Trust() Trust {
	var t Trust
	for _, pin := range l.Pins() {
		t.KMS = append(t.KMS, pin.String())
	}
	return t
}
