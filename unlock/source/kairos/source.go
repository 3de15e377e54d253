package kairos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/source"
)

// A Source opens volumes with the passphrases of a server, or with the one
// that the TPM keeps.
type Source struct {
	// Begin finds the server, until end is called. It is nil where no server
	// is asked.
	Begin func(ctx context.Context) (s Server, end func(), err error)
	// TPM waits for the TPM, and for the word that it may be used.
	TPM func(ctx context.Context) (TPM, error)
	// Kept is the passphrase that the TPM keeps.
	Kept func(ctx context.Context) (secret.Bytes, error)
	// Label is what the server knows a volume by.
	Label func(v *unlock.Volume) string
	// Legacy allows the older exchange.
	Legacy bool
	// Wait is how long the server is asked; 0 is for ever.
	Wait time.Duration
	// Tell tells people why it takes time.
	Tell func(error)
}

// Pauses between attempts, and how long silence is told nobody: a network
// takes that long to come up.
const (
	firstPause = time.Second
	mostPause  = 30 * time.Second
	quietFor   = 10 * time.Second
)

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, to source.Opener) error {
	if s.Wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.Wait)
		defer cancel()
	}
	ask := s.local
	if s.Begin != nil {
		server, end, err := s.Begin(ctx)
		if err != nil {
			return err
		}
		defer end()
		machine, err := s.TPM(ctx)
		if err != nil {
			return err
		}
		client := &Client{Server: server, TPM: machine, Legacy: s.Legacy}
		ask = func(ctx context.Context, v *unlock.Volume) (secret.Bytes, error) {
			return client.Ask(ctx, Request{Label: s.Label(v), UUID: v.Header.UUID()})
		}
	}
	return (&run{Source: s, to: to, ask: ask, began: time.Now(), lost: map[*unlock.Volume]error{}}).all(ctx)
}

func (s *Source) local(ctx context.Context, _ *unlock.Volume) (secret.Bytes, error) {
	return s.Kept(ctx)
}

// A run is one of a source's.
type run struct {
	*Source
	to    source.Opener
	ask   func(ctx context.Context, v *unlock.Volume) (secret.Bytes, error)
	began time.Time
	lost  map[*unlock.Volume]error // why it opens a volume no more
	told  string
}

// all asks for one volume after the other, for the TPM has one attestation
// key, and again while that may help.
func (r *run) all(ctx context.Context) error {
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		var last, waits error
		for _, v := range r.to.Closed() {
			if r.lost[v] != nil {
				continue
			}
			err := r.volume(ctx, v)
			if err == nil {
				continue
			}
			err = fmt.Errorf("volume %s: %w", v.Name, err)
			if last = err; !passes(err) {
				r.lose(ctx, v, err)
				continue
			}
			waits = err
		}
		switch {
		case waits == nil:
			return r.outcome(nil)
		case ctx.Err() != nil:
			return r.outcome(last)
		case codes.Of(waits) != CodeWaiting:
			pause = firstPause // one that is silent costs nobody anything
		}
		r.tell(waits)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return r.outcome(last)
		}
	}
}

// passes tells whether asking again may help.
func passes(err error) bool {
	code := codes.Of(err)
	return code == CodeSilent || code == CodeWaiting || codes.Means(code).Class == codes.Retry && strings.HasPrefix(code, "tpm-")
}

// volume has the passphrase of one volume tried.
func (r *run) volume(ctx context.Context, v *unlock.Volume) error {
	p, err := r.ask(ctx, v)
	if err != nil {
		return err
	}
	defer p.Wipe()
	err = r.to.Try(ctx, source.Offer{Keys: []source.Key{{Volume: v, Passphrases: func(context.Context) ([]unlock.Candidate, error) {
		return []unlock.Candidate{{Passphrase: p.Clone()}}, nil
	}}}})[0]
	if codes.Of(err) == unlock.CodeWrongKey {
		return codes.Fail(CodeWrong, "%w", err)
	}
	return err
}

// lose says that the source opens a volume no more, so that the next one may
// begin.
func (r *run) lose(ctx context.Context, v *unlock.Volume, err error) {
	r.lost[v] = err
	r.to.Try(ctx, source.Offer{Keys: []source.Key{{Volume: v, Err: err}}})
}

// outcome is why the volumes that the boot waits for are closed.
func (r *run) outcome(last error) error {
	errs := []error{last}
	for v, err := range r.lost {
		if r.to.Needed(v) && !errors.Is(last, err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// tell tells people once what is waited for.
func (r *run) tell(err error) {
	if text := err.Error(); text != r.told && (codes.Of(err) == CodeWaiting || time.Since(r.began) >= quietFor) {
		r.told = text
		r.Tell(err)
	}
}
