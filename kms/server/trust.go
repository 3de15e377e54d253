package server

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net/http"
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
func (s *Server) Pins() []kms.Pin {
	var pins []kms.Pin
	for _, k := range s.signing() {
		pins = append(pins, pinOf(k))
	}
	return pins
}

func pinOf(k ed25519.PrivateKey) kms.Pin { return kms.Pin(k.Public().(ed25519.PublicKey)) }

// signing are the keys, in order. Where replicas share the store another may
// have changed them; one that cannot be read leaves those that we have.
func (s *Server) signing() []ed25519.PrivateKey {
	now := s.cookies.now()
	if last := time.Duration(s.keysRead.Load()); s.cookies.shared && now-last > keysEvery && s.keysRead.CompareAndSwap(int64(last), int64(now)) {
		if err := s.read(s.loadKeys); err != nil {
			s.log.Error("reading the signing keys again", "err", err)
		}
	}
	return *s.keys.Load()
}

// loadKeys reads the signing keys: Ed25519 seeds, one after the other.
func (s *Server) loadKeys(v view) error {
	seeds, epoch, err := v.v.open(place{tableMeta, keySigning, stateRow}, v.Get(tableMeta, keySigning))
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
	s.setKeys(seeds)
	return nil
}

func (s *Server) setKeys(seeds []byte) {
	var keys []ed25519.PrivateKey
	for one := range slices.Chunk(seeds, ed25519.SeedSize) {
		keys = append(keys, ed25519.NewKeyFromSeed(one))
	}
	s.keys.Store(&keys)
}

// changeKeys changes the list of seeds in one transaction.
func (s *Server) changeKeys(ctx context.Context, event string, change func(keys []ed25519.PrivateKey) (after []ed25519.PrivateKey, pin kms.Pin, err error)) (Trust, error) {
	var seeds []byte
	defer func() { clear(seeds) }()
	err := s.update(ctx, func(t *txn) error {
		if err := s.loadKeys(t.view); err != nil {
			return err
		}
		after, pin, err := change(slices.Clone(*s.keys.Load()))
		if err != nil {
			return err
		}

		clear(seeds)
		seeds = seeds[:0]
		for _, k := range after {
			seeds = append(seeds, k.Seed()...)
		}
		t.bump()
		sealed := t.v.seal(place{tableMeta, keySigning, stateRow}, t.state.epoch, seeds)
		if err := t.tx.Put(tableMeta, keySigning, sealed); err != nil {
			return err
		}

		return t.note(Event{Event: "trust " + event, From: operator(ctx), Detail: pin.String()})
	})
	if err != nil {
		return Trust{}, err
	}

	s.setKeys(seeds)
	return s.trust(), nil
}

// AddKey makes another signing key, which signs for nodes that trust no
// earlier one.
func (s *Server) AddKey(ctx context.Context) (Trust, error) {
	return s.changeKeys(ctx, "add", func(keys []ed25519.PrivateKey) ([]ed25519.PrivateKey, kms.Pin, error) {
		if len(keys) >= maxKeys {
			return nil, kms.Pin{}, fmt.Errorf("adding a key: %w: there are %d, as many as an image can trust", ErrRefused, len(keys))
		}
		seed := secret.Random(ed25519.SeedSize)
		defer seed.Wipe()
		k := ed25519.NewKeyFromSeed(seed.Reveal())
		return append(keys, k), pinOf(k), nil
	})
}

// UseKey makes a key the first in order.
func (s *Server) UseKey(ctx context.Context, pin kms.Pin) (Trust, error) {
	return s.changeKeys(ctx, "use", func(keys []ed25519.PrivateKey) ([]ed25519.PrivateKey, kms.Pin, error) {
		i, err := find(keys, pin)
		if err != nil {
			return nil, pin, err
		}
		k := keys[i]
		return slices.Insert(slices.Delete(keys, i, i+1), 0, k), pin, nil
	})
}

// RetireSigningKey destroys a key. The first one is not retired: another takes its
// place before.
func (s *Server) RetireSigningKey(ctx context.Context, pin kms.Pin) (Trust, error) {
	return s.changeKeys(ctx, "retire", func(keys []ed25519.PrivateKey) ([]ed25519.PrivateKey, kms.Pin, error) {
		i, err := find(keys, pin)
		if err == nil && i == 0 {
			err = fmt.Errorf("retiring a key: %w: it is the one that signs; use another first", ErrRefused)
		}
		if err != nil {
			return nil, pin, err
		}
		return slices.Delete(keys, i, i+1), pin, nil
	})
}

func find(keys []ed25519.PrivateKey, pin kms.Pin) (int, error) {
	i := slices.IndexFunc(keys, func(k ed25519.PrivateKey) bool { return pinOf(k) == pin })
	if i < 0 {
		return i, fmt.Errorf("looking for key %s: %w", pin, ErrNotFound)
	}
	return i, nil
}

// Trust is what goes into a node's plan: the first key signs for nodes that
// trust several.
type Trust struct {
	KMS []string `json:"kms"`
}

func (s *Server) trust() Trust {
	var t Trust
	for _, pin := range s.Pins() {
		t.KMS = append(t.KMS, pin.String())
	}
	return t
}

// trustRoutes show and change the signing keys.
func (s *Server) trustRoutes() []route {
	key := []param{{name: "key", doc: "public key, as lk1:...=", required: true}}
	change := func(verb, doc string, f func(context.Context, kms.Pin) (Trust, error)) route {
		return route{
			method: "POST", path: "/v1/trust/" + verb, scope: ScopeAdmin, doc: doc, query: key, answer: Trust{},
			do: func(r *http.Request) (any, error) {
				pin, err := kms.ParsePin(r.URL.Query().Get("key"))
				if err != nil {
					return nil, fmt.Errorf("reading the key: %w", err)
				}
				return f(r.Context(), pin)
			},
		}
	}
	return []route{
		{
			method: "GET", path: "/v1/trust", scope: ScopeRead, doc: "Shows the public keys that go into machines' plans.", answer: Trust{},
			do: func(*http.Request) (any, error) { return s.trust(), nil },
		},
		{
			method: "POST", path: "/v1/trust/add", scope: ScopeAdmin, doc: "Makes another signing key.", answer: Trust{},
			do: func(r *http.Request) (any, error) { return s.AddKey(r.Context()) },
		},
		change("use", "Signs with a key from now on.", s.UseKey),
		change("retire", "Destroys a key that no image needs any more.", s.RetireSigningKey),
	}
}
