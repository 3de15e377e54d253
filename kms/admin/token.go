package admin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"latchkey/internal/secret"
	"latchkey/internal/strictjson"
	"latchkey/kms/ledger"
)

// A Token lets somebody administer over HTTPS. The KMS keeps its hash only.
type Token struct {
	Name    string    `json:"name"`
	Scope   Scope     `json:"scope"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Labels  Reach     `json:"labels,omitempty"` // which machines it is for; none: all
	Maker   string    `json:"maker,omitempty"`  // Identity of who made it over HTTPS; empty: somebody on the key server's host
}

// identity is who administers with the token: its name, or who made it, if
// that was somebody far away, who could make any number.
func (t Token) identity() string { return cmp.Or(t.Maker, t.Name) }

// who is the token for people and the log: what is named after somebody may
// be another's.
func (t Token) who() string {
	if t.Maker == "" || t.Maker == t.Name {
		return "token " + t.Name
	}
	return fmt.Sprintf("token %s (made by %.64q)", t.Name, t.Maker)
}

// granted says what somebody may do.
func granted(scope Scope, r Reach) string {
	if r.Whole() {
		return fmt.Sprintf("scope %s", scope)
	}
	return fmt.Sprintf("scope %s, %s", scope, r)
}

// A NewToken asks for a token.
type NewToken struct {
	Name    string    `json:"name"`
	Scope   Scope     `json:"scope"`
	Expires time.Time `json:"expires"`
	Labels  Reach     `json:"labels,omitempty"`
}

// An IssuedToken is shown once.
type IssuedToken struct {
	Token
	Secret string `json:"secret"`
}

// tokenPrefix lets people and scanners see what a token is for; 43 letters
// of 256 random bits follow.
const tokenPrefix = "latchkey_"

// Bounds of tokens.
const (
	maxTokens    = 1000
	maxTokenLife = 365*24*time.Hour + time.Hour // clocks differ a little
)

// CreateToken makes a token and returns it, once.
func (a *API) CreateToken(ctx context.Context, n NewToken) (out IssuedToken, err error) {
	now := time.Now().UTC()
	switch {
	case n.Name == "" || len(n.Name) > 64 || strings.ContainsFunc(n.Name, func(r rune) bool { return r <= ' ' || r > '~' }):
		return out, fmt.Errorf("creating a token: the name %.64q must be 1 to 64 printable letters without blanks", n.Name)
	case !slices.Contains(scopes, n.Scope):
		return out, fmt.Errorf("creating a token: the scope %.20q must be read, approve or admin", n.Scope)
	case !n.Expires.After(now) || n.Expires.Sub(now) > maxTokenLife:
		return out, errors.New("creating a token: it must expire in the future, within a year")
	}

	if err := n.Labels.Check(); err != nil {
		return out, fmt.Errorf("creating a token: %w", err)
	}
	text := secret.Passphrase()
	defer text.Wipe()
	maker, _ := ctx.Value(personKey{}).(person)
	out = IssuedToken{Token{n.Name, n.Scope, now, n.Expires.UTC(), n.Labels, maker.is}, tokenPrefix + string(text.Reveal())}
	key := sha256.Sum256([]byte(out.Secret))
	err = a.ledger.Update(ctx, func(t *ledger.Txn) error {
		if !n.Labels.Whole() { // a key server of before would take it for one without
			if err := t.View.Needs("labels of a token", ledger.FormatPeople); err != nil {
				return err
			}
		}
		all, err := tokens(t.View)
		if err != nil {
			return err
		}

		if len(all) >= maxTokens {
			return fmt.Errorf("creating a token: %w: there are %d", ledger.ErrRefused, len(all))
		}
		for _, other := range all {
			if other.Name == n.Name {
				return fmt.Errorf("creating a token: %w: there is one named %s; revoke it first", ledger.ErrRefused, n.Name)
			}
		}

		t.Bump()
		if err := t.Save(tableTokens, key[:], out.Token); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "token create", From: ledger.Who(ctx), Detail: fmt.Sprintf("%s, %s, until %s", n.Name, granted(n.Scope, n.Labels), out.Expires.Format(time.RFC3339))})
	})

	return out, err
}

// tokens are all tokens, by the hash that they are kept under.
func tokens(v ledger.View) (map[string]Token, error) {
	all := map[string]Token{}
	var failed error
	v.Scan(tableTokens, nil, func(key []byte) bool {
		var t Token
		if _, failed = v.Load(tableTokens, key, &t); failed == nil {
			all[string(key)] = t
		}
		return failed == nil
	})
	return all, failed
}

// Tokens lists the tokens, by name.
func (a *API) Tokens() (list []Token, err error) {
	err = a.ledger.Read(func(v ledger.View) error {
		all, err := tokens(v)
		for _, t := range all {
			list = append(list, t)
		}
		return err
	})
	slices.SortFunc(list, func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

// RevokeToken ends a token at once.
func (a *API) RevokeToken(ctx context.Context, name string) error {
	return a.ledger.Update(ctx, func(t *ledger.Txn) error {
		all, err := tokens(t.View)
		if err != nil {
			return err
		}

		for key, one := range all {
			if one.Name != name {
				continue
			}
			t.Bump()
			if err := t.Remove(tableTokens, []byte(key)); err != nil {
				return err
			}
			return t.Note(ledger.Event{Event: "token revoke", From: ledger.Who(ctx), Detail: name})
		}

		return fmt.Errorf("revoking token %.64q: %w", name, ledger.ErrNotFound)
	})
}

// holder is the token of a hash, if it is one and still counts.
func (a *API) holder(key [32]byte) (t Token, err error) {
	err = a.ledger.Read(func(v ledger.View) error {
		found, err := v.Load(tableTokens, key[:], &t)
		if err == nil && (!found || !time.Now().Before(t.Expires)) {
			err = errUnknown
		}
		return err
	})
	return t, err
}

// tokenRoutes issue and revoke tokens.
func (a *API) tokenRoutes() []Route {
	return []Route{
		{
			Method: "GET", Path: "/v1/tokens", Scope: ScopeAdmin, Reaching: OnlyWhole, Doc: "Lists the tokens of the administration, never their secrets.", Answer: []Token{},
			Do: func(*http.Request) (any, error) { return List(a.Tokens()) },
		},
		{
			Method: "POST", Path: "/v1/token/create", Scope: ScopeAdmin, Reaching: OnlyWhole, Doc: "Makes a token; its secret is shown this once.", Body: NewToken{}, Answer: IssuedToken{},
			Do: func(r *http.Request) (any, error) {
				var n NewToken
				if err := strictjson.Decode(r.Body, &n); err != nil {
					return nil, err
				}
				return a.CreateToken(r.Context(), n)
			},
		},
		{
			Method: "POST", Path: "/v1/token/revoke", Scope: ScopeAdmin, Reaching: OnlyWhole, Doc: "Ends a token at once.", Answer: struct{}{},
			Query: []Param{{Name: "name", Doc: "name of the token", Required: true}},
			Do: func(r *http.Request) (any, error) {
				return struct{}{}, a.RevokeToken(r.Context(), r.URL.Query().Get("name"))
			},
		},
	}
}
