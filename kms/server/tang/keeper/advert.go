package keeper

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"latchkey/kms/ledger"
	"latchkey/kms/server/tang"
)

// maxAdverts bounds the advertisements that are kept, signed.
const maxAdverts = 1024

// adverts are advertisements by what they say and who signs them: a signature
// takes as long as a recovery, and is good for as long as the keys.
type adverts struct {
	mu  sync.Mutex
	all map[[32]byte][]byte
}

func (a *adverts) get(of [32]byte) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[of]
}

func (a *adverts) put(of [32]byte, text []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil || len(a.all) >= maxAdverts {
		a.all = map[[32]byte][]byte{}
	}
	a.all[of] = text
}

// An advert is what is to be signed by whom.
type advert struct{ keys, signers []key }

// digest tells an advert from others.
func (a advert) digest() [32]byte {
	var names []string
	for _, all := range [][]key{a.keys, a.signers} {
		for _, k := range all {
			names = append(names, k.Key.Thumbprint())
		}
		names = append(names, "")
	}
	return sha256.Sum256([]byte(strings.Join(names, " ")))
}

// Advertise implements tang.Keeper. A server without keys makes them when
// it is first asked, as tang does.
func (k *Keeper) Advertise(ctx context.Context, a tang.Ask, thumbprint string) ([]byte, error) {
	for {
		text, err := k.advertise(ctx, a, thumbprint)
		if !errors.Is(err, errNoKeys) {
			return text, err
		}
		if err := k.first(ctx); err != nil {
			return nil, &ledger.Unavailable{Err: err}
		}
	}
}

// errNoKeys: no key of everybody's is advertised.
var errNoKeys = errors.New("there are no keys to advertise")

func (k *Keeper) advertise(ctx context.Context, a tang.Ask, thumbprint string) (text []byte, err error) {
	var one advert
	var signers []tang.Private
	defer func() {
		for _, s := range signers {
			s.D.Wipe()
		}
	}()
	err = k.c.Ledger.Read(func(v ledger.View) error {
		if one, err = k.advert(v, a, thumbprint); err != nil {
			return err
		}
		if text = k.adverts.get(one.digest()); text != nil {
			return nil
		}
		for _, s := range one.signers {
			p, found, err := k.rows.open(v, s)
			if err == nil && !found {
				err = fmt.Errorf("reading key %s: %w", s.Key.Thumbprint(), ledger.ErrUnverified)
			}
			if err != nil {
				return err
			}
			signers = append(signers, p)
		}
		return nil
	})
	if err != nil || text != nil {
		return text, err
	}

	var public []tang.Key
	for _, p := range one.keys {
		public = append(public, p.Key)
	}
	err = k.c.Work.Do(ctx, func() error {
		text, err = tang.Advertise(public, signers)
		return err
	})
	if err == nil {
		k.adverts.put(one.digest(), text)
	}
	return text, err
}

// advert finds what an advertisement says. One that is asked for by a
// thumbprint is signed by that key, too, also if it is hidden: so who trusts
// an old one learns the new ones.
func (k *Keeper) advert(v ledger.View, a tang.Ask, thumbprint string) (one advert, err error) {
	if refused := k.o.Load().may(a, k.c.Ledger.Wall()); refused != nil {
		return one, refused
	}
	refused, err := k.client(v, a)
	if err != nil {
		return one, err
	}
	if refused != nil {
		return one, refused
	}
	var also *key
	err = k.rows.each(v, a.Client, func(row key) error {
		if row.Retired == nil && thumbprint != "" && row.Key.Signs() && row.Key.Named(thumbprint) {
			also = &row
		}
		if row.Retired != nil || row.Hidden != nil {
			return nil
		}
		if row.Key.Signs() {
			one.signers = append(one.signers, row)
		}
		one.keys = append(one.keys, row)
		return nil
	})
	switch {
	case err != nil:
		return one, err
	case len(one.keys) == 0 && a.Client == "":
		return one, errNoKeys
	case len(one.signers) == 0:
		return one, errors.New("no key that signs is advertised: make new ones (latchkey-kms tang key rotate)")
	case thumbprint != "" && also == nil:
		return one, &tang.Refusal{Reason: tang.NoKey}
	}
	if also != nil && !slices.ContainsFunc(one.signers, func(s key) bool { return s.Key.Thumbprint() == also.Key.Thumbprint() }) {
		one.signers = append(one.signers, *also)
	}
	return one, nil
}

// first makes the first keys, unless there are some by now.
func (k *Keeper) first(ctx context.Context) error {
	return k.c.Ledger.Update(ctx, func(t *ledger.Txn) error {
		found := false
		err := k.rows.each(t.View, "", func(row key) error {
			found = found || row.Hidden == nil && row.Retired == nil
			return nil
		})
		if err != nil || found {
			return err
		}
		return k.makeKeys(ctx, t, made{"", tang.DefaultCurve, "tang rotate", "the first ones: a client asked"})
	})
}
