package admin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"latchkey/kms/front"
	"latchkey/kms/ledger"
)

// Errors of the administration over HTTPS.
var (
	errUnknown = errors.New("who asks is not known: no valid token, no certificate of a listed client")
	// ErrScope is who is known and may not do what he asks.
	ErrScope = errors.New("who asks may not do this")
)

// A Person is who administers, for the log, and how much of it they may.
type Person struct {
	Who   string
	Scope Scope
	Is    string // Identity: who that is, from wherever
	Token []byte // SHA-256 of the token that was shown, if it was one
	Reach Reach  // which machines they administer
}

// Identify tells who sends a request. Who it does not know has no scope; the
// error says why.
type Identify func(*http.Request) (Person, error)

// ByHeaders identifies who shows a token, or a client certificate of one of
// these clients (subject's common name).
func (a *API) ByHeaders(clients map[string]Grant) Identify {
	return func(r *http.Request) (p Person, err error) {
		if header := r.Header.Get("Authorization"); header != "" {
			text, ok := strings.CutPrefix(header, "Bearer ")
			if !ok {
				return Person{}, errUnknown
			}
			sum := sha256.Sum256([]byte(text))
			t, err := a.holder(sum)
			if err != nil {
				return Person{}, err
			}
			p = Person{t.who(), t.Scope, t.identity(), sum[:], t.Labels}
		} else if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
			name := r.TLS.VerifiedChains[0][0].Subject.CommonName
			p = Person{fmt.Sprintf("client %.64q", name), clients[name].Scope, name, nil, clients[name].Reach}
		}

		p.Who += " at " + front.Remote(r)
		if p.Scope == "" {
			return p, errUnknown
		}
		return p, nil
	}
}

// May tells whether the person may do what needs want.
func (p Person) May(want Scope) bool { return p.Scope.allows(want) }

// may is nil if the person may do what needs want.
func (p Person) may(want Scope) error {
	if !p.Scope.allows(want) {
		return fmt.Errorf("%w: it needs scope %s", ErrScope, want)
	}
	return nil
}

// HandlerFor answers whom identify knows, what their scope allows. Every use is
// recorded before it is answered.
func (a *API) HandlerFor(identify Identify) http.Handler {
	mux := http.NewServeMux()
	for _, one := range a.routes {
		allowed := func(r *http.Request) (Person, error) {
			p, err := identify(r)
			if err == nil {
				err = cmp.Or(p.may(one.Scope), p.Reach.lets(&one))
			}
			return p, err
		}
		handler := handler(one)
		mux.HandleFunc(one.Method+" "+one.Path, func(w http.ResponseWriter, r *http.Request) {
			p, err := allowed(r)
			if err != nil {
				a.log.Warn("administration refused", "path", one.Path, "from", front.Remote(r), "who", p.Who, "why", err)
				writeResult(w, nil, err)
				return
			}
			ctx := As(r.Context(), p)
			if err := a.record(ctx, p.Who, one); err != nil {
				writeResult(w, nil, &ledger.Unavailable{Err: err})
				return
			}
			if one.Stream != nil {
				var stop func()
				ctx, stop = a.whileAllowed(ctx, func() error { _, err := allowed(r); return err })
				defer stop()
			}
			handler(w, r.WithContext(ctx))
		})
	}
	return mux
}

// allowedEvery is how often it is looked whether who watches still may: a
// token expires.
const allowedEvery = 10 * time.Second

// whileAllowed is a context that ends when who asked may no longer: at once
// when a token is revoked, or a session ended.
func (a *API) whileAllowed(ctx context.Context, allowed func() error) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	events, stop := a.ledger.ListenAll()
	go func() {
		tick := time.NewTicker(allowedEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-events.Events:
				if e.Event != "token revoke" && e.Event != eventSignOut {
					continue
				}
			case <-tick.C:
			}
			if allowed() != nil {
				cancel()
				return
			}
		}
	}()
	return ctx, func() { cancel(); stop() }
}

// record keeps who used the administration before it is answered: in the
// audit log what changes something or gives the database away, in the
// server's log what only looks, whoever may. A look that is written to the
// database would fill it.
func (a *API) record(ctx context.Context, who string, r Route) error {
	if r.Method == http.MethodGet && !r.Gives {
		a.log.Info("administration", "who", who, "path", r.Path)
		return nil
	}
	return a.ledger.Update(ctx, func(t *ledger.Txn) error {
		return t.Note(ledger.Event{Event: "admin", From: who, Detail: r.Method + " " + r.Path})
	})
}
