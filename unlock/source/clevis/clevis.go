// Package clevis is the source of keys that clevis(1) has bound to tang
// servers and to the TPM, alone or by Shamir's sharing (pins tang, tpm2 and
// sss). It needs neither clevis nor jose nor tpm2-tools.
package clevis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source"
)

// A Clevis opens volumes by their tokens of type clevis.
type Clevis struct {
	// Allowed are the thumbprints of the exchange keys that may open a
	// volume. A token is on the disk, where anybody may have written it.
	Allowed []string
	// Sealed are the sealed secrets that may open a volume, as Sealed tells
	// them.
	Sealed []string
	// TLS allows servers at https://: the Asker knows them.
	TLS bool
	// TPM waits for the TPM, and for the word that it may be used.
	TPM func(ctx context.Context) (Unsealer, error)
	// Wait is how long servers are asked; 0 is for ever.
	Wait time.Duration
	Asker
}

// An Asker asks tang servers.
type Asker interface {
	// Ask posts a body to the server at http(s)://host:port, at each of the
	// host's addresses, until take takes an answer or ctx ends. Its error
	// wraps ErrNoKey if a server answered that it does not have the key.
	Ask(ctx context.Context, url, path string, body []byte, take func(reply []byte) error) error
}

// ErrNoKey is what a server answers for a key that it does not have.
var ErrNoKey = errors.New("it does not have this key")

// Codes of this package.
const (
	CodeToken  = "clevis-token"  // no token that can be used: final
	CodeSilent = "clevis-silent" // no server answered in time: final
	CodeNoKey  = "clevis-no-key" // the server has lost the key: final
)

// Run implements source.Source. All servers of all volumes are asked at once.
func (c *Clevis) Run(ctx context.Context, to source.Opener) error {
	if c.Wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Wait)
		defer cancel()
	}
	volumes := to.Closed()
	errs := make([]error, len(volumes))
	var wg sync.WaitGroup
	for i, v := range volumes {
		wg.Go(func() {
			if err := c.volume(ctx, to, v); err != nil && to.Needed(v) {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// volume opens one volume by the first of its tokens that gives a key.
func (c *Clevis) volume(ctx context.Context, to source.Opener, v *unlock.Volume) error {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		key   secret.Bytes
		index int
		err   error
	}
	results := make(chan result)
	var tokens []luks2.Token
	for _, t := range v.Header.Tokens() {
		if t.Type != "clevis" || len(t.Keyslots) == 0 {
			continue
		}
		i := len(tokens)
		tokens = append(tokens, t)
		go func() {
			key, err := c.token(ctx, t)
			results <- result{key, i, err}
		}()
	}
	if len(tokens) == 0 {
		err := fmt.Errorf("volume %s has no token of type clevis: %w", v.Name, source.ErrNotMine)
		to.Try(ctx, source.Offer{Keys: []source.Key{{Volume: v, Err: err}}})
		return err
	}

	errs := make([]error, len(tokens)) // in their order, whichever ends first
	opened := false
	for range tokens {
		r := <-results
		t := tokens[r.index]
		if r.err == nil && !opened {
			r.err = try(outer, to, v, r.key, t.Keyslots)
			opened = r.err == nil
			if opened {
				cancel()
			}
		}
		r.key.Wipe()
		if r.err != nil {
			errs[r.index] = fmt.Errorf("volume %s, token %d: %w", v.Name, t.ID, r.err)
		}
	}
	if opened {
		return nil
	}
	return join(errs)
}

func try(ctx context.Context, to source.Opener, v *unlock.Volume, key secret.Bytes, slots []int) error {
	return to.Try(ctx, source.Offer{Keys: []source.Key{{Volume: v, Passphrases: func(context.Context) ([]unlock.Candidate, error) {
		return []unlock.Candidate{{Passphrase: key.Clone(), Slots: slots}}, nil
	}}}})[0]
}

// token is the key in one token.
func (c *Clevis) token(ctx context.Context, t luks2.Token) (secret.Bytes, error) {
	pin, err := c.judge(t.JSON)
	if err != nil {
		return secret.Bytes{}, err
	}
	return pin(ctx)
}

// judge says what is to be done for a token, before anybody is asked.
func (c *Clevis) judge(token json.RawMessage) (pin, error) {
	j, err := parseToken(token)
	if err != nil {
		return nil, codes.Fail(CodeToken, "%w", err)
	}
	return (&judging{c, maxJWEs}).pin(j, maxDepth)
}

// A judging is of one token.
type judging struct {
	*Clevis
	left int // messages that there may be
}

// A pin gets the content of a message.
type pin func(ctx context.Context) (secret.Bytes, error)

// pin judges a message, shares and all.
func (g *judging) pin(j *jwe, depth int) (pin, error) {
	if g.left--; g.left < 0 {
		return nil, codes.Fail(CodeToken, "it has more than %d messages", maxJWEs)
	}
	switch kind := j.header.Clevis.Pin; kind {
	case "tang":
		if !slices.Contains(g.Allowed, j.header.Kid) {
			return nil, codes.Fail(CodeToken, "the plan does not allow the tang key %.64q", j.header.Kid)
		}
		at, path, err := parseURL(j.header.Clevis.Tang.URL, g.TLS)
		if err != nil {
			return nil, codes.Fail(CodeToken, "its server: %w", err)
		}
		x, err := j.exchange()
		if err != nil {
			return nil, codes.Fail(CodeToken, "%w", err)
		}
		return func(ctx context.Context) (secret.Bytes, error) { return g.tang(ctx, at, path+"/rec/"+j.header.Kid, x) }, nil
	case "sss":
		if depth == 0 {
			return nil, codes.Fail(CodeToken, "its pins sss are nested more than %d times", maxDepth)
		}
		return g.sss(j, depth-1)
	case "tpm2":
		return g.tpm2(j)
	default:
		return nil, codes.Fail(CodeToken, "its pin is %.16q, want tang, tpm2 or sss", kind)
	}
}

// tang has a server do its part. What it answers is not signed: only the
// server's key gives a content key that opens the message, and whoever has
// that key may.
func (c *Clevis) tang(ctx context.Context, at, path string, x *exchange) (key secret.Bytes, err error) {
	err = c.Ask(ctx, at, path, x.request, func(reply []byte) (err error) {
		key, err = x.open(reply)
		return err
	})
	switch {
	case errors.Is(err, ErrNoKey):
		return secret.Bytes{}, codes.Fail(CodeNoKey, "tang server %s: %w", at, err)
	case err != nil:
		return secret.Bytes{}, codes.Fail(CodeSilent, "tang server %s: %w", at, err)
	}
	return key, nil
}

// sss is a message whose key is shared: any T of its shares give it back.
func (g *judging) sss(j *jwe, depth int) (pin, error) {
	s := j.header.Clevis.SSS
	f, err := newField(s.P)
	switch {
	case j.header.Alg != "dir":
		return nil, codes.Fail(CodeToken, "its alg is %.16q, want dir", j.header.Alg)
	case err != nil:
		return nil, codes.Fail(CodeToken, "%w", err)
	case s.T < 1 || s.T > len(s.JWE):
		return nil, codes.Fail(CodeToken, "it wants %d of %d shares", s.T, len(s.JWE))
	}

	var pins []pin
	var errs []error
	for i, text := range s.JWE {
		var p pin
		share, err := parseCompact(text)
		if err != nil {
			err = codes.Fail(CodeToken, "%w", err)
		} else {
			p, err = g.pin(share, depth)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("share %d: %w", i, err))
			continue
		}
		pins = append(pins, p)
	}
	if len(pins) < s.T { // one that cannot be used leaves the others
		return nil, join(errs)
	}
	return func(ctx context.Context) (secret.Bytes, error) { return gather(ctx, j, f, s.T, pins) }, nil
}

// gather asks for all shares at once; the first that come count.
func gather(ctx context.Context, j *jwe, f field, threshold int, pins []pin) (secret.Bytes, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		share secret.Bytes
		index int
		err   error
	}
	results := make(chan result)
	for i, p := range pins {
		go func() {
			share, err := p(ctx)
			results <- result{share, i, err}
		}()
	}

	var shares []secret.Bytes
	errs, failed := make([]error, len(pins)), 0 // in their order, whichever ends first
	for range pins {
		r := <-results
		switch {
		case r.err != nil:
			errs[r.index] = r.err
			failed++
		case len(shares) < threshold:
			shares = append(shares, r.share)
		default:
			r.share.Wipe()
		}
		if len(shares) == threshold || len(pins)-failed < threshold {
			cancel()
		}
	}
	defer func() {
		for _, s := range shares {
			s.Wipe()
		}
	}()
	if len(shares) < threshold {
		return secret.Bytes{}, join(errs)
	}
	key, err := f.join(shares)
	if err != nil {
		return secret.Bytes{}, codes.Fail(CodeToken, "%w", err)
	}
	defer key.Wipe()
	out, err := j.open(key.Reveal())
	if err != nil {
		return secret.Bytes{}, codes.Fail(CodeToken, "%w", err)
	}
	return out, nil
}
