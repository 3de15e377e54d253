package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"latchkey/internal/secret"
)

// A Token lets somebody administer over HTTPS. The KMS keeps its hash only.
type Token struct {
	Name    string    `json:"name"`
	Scope   Scope     `json:"scope"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// A NewToken asks for a token.
type NewToken struct {
	Name    string    `json:"name"`
	Scope   Scope     `json:"scope"`
	Expires time.Time `json:"expires"`
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
	maxTokenLife = 366 * 24 * time.Hour
)

// CreateToken makes a token and returns it, once.
func (s *Server) CreateToken(ctx context.Context, n NewToken) (out IssuedToken, err error) {
	now := time.Now().UTC()
	switch {
	case n.Name == "" || len(n.Name) > 64 || strings.ContainsFunc(n.Name, func(r rune) bool { return r <= ' ' || r > '~' }):
		return out, fmt.Errorf("creating a token: the name %.64q must be 1 to 64 printable letters without blanks", n.Name)
	case !slices.Contains(scopes, n.Scope):
		return out, fmt.Errorf("creating a token: the scope %.20q must be read, approve or admin", n.Scope)
	case !n.Expires.After(now) || n.Expires.Sub(now) > maxTokenLife:
		return out, errors.New("creating a token: it must expire in the future, within a year")
	}

	text := GeneratePassphrase()
	defer text.Wipe()
	out = IssuedToken{Token{n.Name, n.Scope, now, n.Expires.UTC()}, tokenPrefix + string(text.Reveal())}
	key := sha256.Sum256([]byte(out.Secret))
	err = s.update(ctx, func(t *txn) error {
		tokens, err := t.tokens()
		if err != nil {
			return err
		}

		if len(tokens) >= maxTokens {
			return fmt.Errorf("creating a token: %w: there are %d", ErrRefused, len(tokens))
		}
		for _, other := range tokens {
			if other.Name == n.Name {
				return fmt.Errorf("creating a token: %w: there is one named %s; revoke it first", ErrRefused, n.Name)
			}
		}

		t.bump()
		if err := t.save(tableTokens, key[:], out.Token); err != nil {
			return err
		}
		return t.note(Event{Event: "token create", From: operator(ctx), Detail: fmt.Sprintf("%s, scope %s, until %s", n.Name, n.Scope, out.Expires.Format(time.RFC3339))})
	})

	return out, err
}

// tokens are all tokens, by the hash that they are kept under.
func (v view) tokens() (map[string]Token, error) {
	tokens := map[string]Token{}
	var failed error
	v.Scan(tableTokens, nil, func(key, _ []byte) bool {
		var t Token
		if _, failed = v.load(tableTokens, key, &t); failed == nil {
			tokens[string(key)] = t
		}
		return failed == nil
	})
	return tokens, failed
}

// Tokens lists the tokens, by name.
func (s *Server) Tokens() (list []Token, err error) {
	err = s.read(func(v view) error {
		tokens, err := v.tokens()
		for _, t := range tokens {
			list = append(list, t)
		}
		return err
	})
	slices.SortFunc(list, func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

// RevokeToken ends a token at once.
func (s *Server) RevokeToken(ctx context.Context, name string) error {
	return s.update(ctx, func(t *txn) error {
		tokens, err := t.tokens()
		if err != nil {
			return err
		}

		for key, one := range tokens {
			if one.Name != name {
				continue
			}
			t.bump()
			if err := t.remove(tableTokens, []byte(key)); err != nil {
				return err
			}
			return t.note(Event{Event: "token revoke", From: operator(ctx), Detail: name})
		}

		return fmt.Errorf("revoking token %.64q: %w", name, ErrNotFound)
	})
}

// holder is the token that somebody shows, if it is one and still counts.
func (s *Server) holder(shown secret.Bytes) (t Token, err error) {
	key := sha256.Sum256(shown.Reveal())
	err = s.read(func(v view) error {
		found, err := v.load(tableTokens, key[:], &t)
		if err == nil && (!found || !time.Now().Before(t.Expires)) {
			err = errUnknown
		}
		return err
	})
	return t, err
}

// tokenRoutes issue and revoke tokens.
func (s *Server) tokenRoutes() []route {
	return []route{
		{
			method: "GET", path: "/v1/tokens", scope: ScopeAdmin, doc: "Lists the tokens of the administration, never their secrets.", answer: []Token{},
			do: func(*http.Request) (any, error) { return list(s.Tokens()) },
		},
		{
			method: "POST", path: "/v1/token/create", scope: ScopeAdmin, doc: "Makes a token; its secret is shown this once.", body: NewToken{}, answer: IssuedToken{},
			do: func(r *http.Request) (any, error) {
				var n NewToken
				if err := decodeJSON(r.Body, &n); err != nil {
					return nil, err
				}
				return s.CreateToken(r.Context(), n)
			},
		},
		{
			method: "POST", path: "/v1/token/revoke", scope: ScopeAdmin, doc: "Ends a token at once.", answer: struct{}{},
			query: []param{{name: "name", doc: "name of the token", required: true}},
			do: func(r *http.Request) (any, error) {
				return struct{}{}, s.RevokeToken(r.Context(), r.URL.Query().Get("name"))
			},
		},
	}
}
