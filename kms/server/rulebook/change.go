package rulebook

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"latchkey/internal/strictjson"
	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/terms"
)

// An Editor changes the policy in the store.
type Editor struct {
	Ledger  *ledger.Ledger
	Book    *Book
	Several terms.Several
}

// A NewEdition is a text to apply.
type NewEdition struct {
	Text  string            `json:"text"`
	Files map[string][]byte `json:"files,omitempty"`
	Base  uint32            `json:"base"` // number of the edition that was looked at; 0: the file's
}

// An Applied is what became of it.
type Applied struct {
	Number uint32 `json:"number"`          // of the edition that holds
	Same   bool   `json:"same,omitempty"`  // it said so already
	Needs  string `json:"needs,omitempty"` // not empty: nothing was changed; others must say the same
}

// subject is what people agree about.
var subject = kms.NodeID(sha256.Sum256([]byte("latchkey policy")))

// Apply makes a text the policy of all servers on the store.
func (d *Editor) Apply(ctx context.Context, n NewEdition) (Applied, error) {
	e := Edition{Text: n.Text, Files: n.Files}
	if _, err := e.Rules(); err != nil {
		return Applied{}, fmt.Errorf("applying the policy: %w", err)
	}
	return d.change(ctx, "policy apply", func(_ ledger.View, now Edition) (Edition, error) {
		if n.Base != now.holds() {
			return e, fmt.Errorf("applying the policy: %w: edition %d holds now, and %d was compared with: look again", ledger.ErrRefused, now.holds(), n.Base)
		}
		return e, nil
	})
}

// Revert brings an earlier edition back as a new one; zero: each server's
// configuration file holds again.
func (d *Editor) Revert(ctx context.Context, to uint32) (Applied, error) {
	return d.change(ctx, "policy revert", func(v ledger.View, now Edition) (Edition, error) {
		if to == 0 {
			return Edition{ToFile: true}, nil
		}
		e, err := load(v, to)
		if err != nil {
			return e, err
		}
		if _, err := e.Rules(); err != nil && !e.ToFile {
			return e, fmt.Errorf("bringing edition %d back: %w: %w", to, ledger.ErrRefused, err)
		}
		e.Of = to
		return e, nil
	})
}

// holds is the number of the edition if its text holds, else zero.
func (e Edition) holds() uint32 {
	if e.ToFile {
		return 0
	}
	return e.Number
}

// same tells whether another edition says the same.
func (e Edition) same(o Edition) bool { return e.what() == o.what() }

func (e Edition) what() string {
	text, err := json.Marshal([]any{e.ToFile, e.Text, e.Files})
	if err != nil {
		panic(err) // of our own types
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// people is how many must want a change of a policy: no fewer than any
// machine of it needs.
func people(p *policy.Policy) int {
	most := p.Defaults.People()
	for _, g := range p.Groups {
		most = max(most, g.Settings.People())
	}
	return most
}

// change writes the next edition, as the last of as many people as must want
// it.
func (d *Editor) change(ctx context.Context, event string, next func(ledger.View, Edition) (Edition, error)) (out Applied, err error) {
	err = d.Ledger.Update(ctx, func(t *ledger.Txn) error {
		number, err := newest(t.View)
		if err != nil {
			return err
		}
		now := Edition{ToFile: true}
		if number > 0 {
			if now, err = load(t.View, number); err != nil {
				return err
			}
		}
		e, err := next(t.View, now)
		if err != nil {
			return err
		}
		if out = (Applied{Number: number, Same: e.same(now)}); out.Same {
			return nil
		}
		if err := d.agreed(ctx, t, now, e, event); err != nil {
			return err
		}
		e.Number, e.Who, e.At = number+1, ledger.Who(ctx), d.Ledger.Wall().UTC().Truncate(time.Second)
		out.Number = e.Number
		return write(t, e, event)
	})
	if needs, kept := d.Several.Keep(ctx, subject, "", err); kept != nil || needs != "" {
		return Applied{Number: out.Number, Needs: needs}, kept
	}
	if err != nil {
		return Applied{}, err
	}
	return out, d.Ledger.Read(d.Book.Follow)
}

// agreed is nil if as many people want it as before the change, or after it.
func (d *Editor) agreed(ctx context.Context, t *ledger.Txn, now, e Edition, event string) error {
	need := people(d.Book.file.Load())
	for _, one := range []Edition{now, e} {
		if p, err := one.Rules(); err == nil && !one.ToFile {
			need = max(need, people(p))
		}
	}
	return d.Several.Together(ctx, t, subject, need, event, e.what())
}

// write writes an edition, and forgets the oldest.
func write(t *ledger.Txn, e Edition, event string) error {
	t.Bump()
	if err := errors.Join(t.Save(table, key(e.Number), e), t.Put(table, current, key(e.Number))); err != nil {
		return err
	}
	if e.Number > maxEditions && t.View.Has(table, key(e.Number-maxEditions)) {
		if err := t.Remove(table, key(e.Number-maxEditions)); err != nil {
			return err
		}
	}
	detail := fmt.Sprintf("edition %d, SHA-256 %s", e.Number, e.what()[:16])
	if e.ToFile {
		detail = fmt.Sprintf("edition %d: each server's configuration file", e.Number)
	} else if e.Of > 0 {
		detail += fmt.Sprintf(", edition %d again", e.Of)
	}
	return t.Note(ledger.Event{Event: event, From: e.Who, Detail: detail})
}

// List are the editions that are kept, the newest first, without their text.
func (d *Editor) List() (all []Edition, err error) {
	err = d.Ledger.Read(func(v ledger.View) error {
		all, err = editions(v)
		return err
	})
	for i := range all {
		all[i].Text, all[i].Files = "", nil
	}
	slices.Reverse(all)
	return all, err
}

// Show is one edition; zero: the one that holds, whose number is zero if it
// is the file's.
func (d *Editor) Show(number uint32) (e Edition, err error) {
	err = d.Ledger.Read(func(v ledger.View) error {
		held, err := newest(v)
		if number = cmp.Or(number, held); err != nil || number == 0 {
			return err
		}
		e, err = load(v, number)
		return err
	})
	return e, err
}

// Routes answer the operator.
func (d *Editor) Routes() []admin.Route {
	numberParam := admin.Param{Name: "number", Doc: "number of the edition; the one that holds if it is not said", Kind: "integer"}
	number := func(r *http.Request, missing string) (uint32, error) {
		text := cmp.Or(r.URL.Query().Get("number"), missing)
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("edition %.20q: want a number", text)
		}
		return uint32(n), nil
	}
	return []admin.Route{{
		Method: "GET", Path: "/v1/policy", Scope: admin.ScopeRead, Reaching: admin.OnlyWhole, Doc: "Shows the policy in the store, or an earlier edition of it.",
		Query: []admin.Param{numberParam}, Answer: Edition{},
		Do: func(r *http.Request) (any, error) {
			n, err := number(r, "0")
			if err != nil {
				return nil, err
			}
			return d.Show(n)
		},
	}, {
		Method: "GET", Path: "/v1/policy/editions", Scope: admin.ScopeRead, Reaching: admin.OnlyWhole, Doc: "Lists the editions of the policy, the newest first, without their text.",
		Answer: []Edition{}, Do: func(*http.Request) (any, error) { return admin.List(d.List()) },
	}, {
		Method: "POST", Path: "/v1/policy/apply", Scope: admin.ScopeAdmin, Reaching: admin.OnlyWhole, Doc: "Makes a text the policy of all servers on the store.",
		Body: NewEdition{}, Limit: 2 * MaxBytes, Answer: Applied{},
		Do: func(r *http.Request) (any, error) {
			var n NewEdition
			if err := strictjson.Decode(r.Body, &n); err != nil {
				return nil, err
			}
			return d.Apply(r.Context(), n)
		},
	}, {
		Method: "POST", Path: "/v1/policy/revert", Scope: admin.ScopeAdmin, Reaching: admin.OnlyWhole, Doc: "Brings an earlier edition of the policy back; with number 0 each server's configuration file holds again.",
		Query: []admin.Param{{Name: "number", Doc: "number of the edition; 0: the file", Kind: "integer", Required: true}}, Answer: Applied{},
		Do: func(r *http.Request) (any, error) {
			n, err := number(r, "")
			if err != nil {
				return nil, err
			}
			return d.Revert(r.Context(), n)
		},
	}}
}
