package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms/ledger"
)

// Sessions of people who signed in with a browser. Nothing is kept of one
// but what its owner carries, sealed: it is good on every key server of the
// store, and after a restart. Keyring is what seals it; a ring's version that
// is retired ends all of its sessions.
var Keyring = ledger.NewKeyring("sessions", nil)

// tableSignouts is when a session was ended, by SHA-256 of its id, and when
// somebody signed out everywhere, by SHA-256 of who.
var tableSignouts = ledger.NewTable("signouts", ledger.Sealed)

// MaxSession is how long a session may last.
const MaxSession = 24 * time.Hour

const eventSignOut = "sign out"

// A Session is somebody who signed in.
type Session struct {
	ID      []byte    `json:"id"`              // 16 random bytes
	Who     string    `json:"who"`             // "token NAME", "oidc SUBJECT"
	Is      string    `json:"is,omitempty"`    // Identity
	Scope   Scope     `json:"scope"`           // of a token it is looked up again at every use
	Reach   Reach     `json:"reach,omitempty"` // which machines; of a token it is looked up again, too
	Token   []byte    `json:"token,omitempty"` // SHA-256 of the token that it rests on
	Began   time.Time `json:"began"`
	Expires time.Time `json:"expires"`
}

// SignIn begins a session by a token, of whoever sits at an address. What it
// returns goes into a cookie.
func (a *API) SignIn(ctx context.Context, token secret.Bytes, from string, life time.Duration) (string, Session, error) {
	sum := sha256.Sum256(token.Reveal())
	t, err := a.holder(sum)
	if err != nil {
		return "", Session{}, err
	}
	s := Session{Who: t.who(), Is: t.identity(), Scope: t.Scope, Reach: t.Labels, Token: sum[:]}
	cookie, err := a.BeginSession(ctx, &s, from, life)
	return cookie, s, err
}

// BeginSession seals a session of somebody whose word was checked, and records it.
func (a *API) BeginSession(ctx context.Context, s *Session, from string, life time.Duration) (cookie string, err error) {
	now := time.Now().UTC()
	s.ID = secret.Random(16).Reveal()
	s.Began, s.Expires = now, now.Add(min(life, MaxSession))
	plain, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("beginning a session: %w", err)
	}
	err = a.ledger.Update(ctx, func(t *ledger.Txn) error {
		version, sealed, err := t.Seal(Keyring.Ring(""), secret.Own(plain), sessionPlace)
		if err != nil {
			return err
		}
		cookie = base64.RawURLEncoding.EncodeToString(append(binary.BigEndian.AppendUint32(nil, version), sealed...))
		return t.Note(ledger.Event{Event: "sign in", From: s.Who + " at " + from, Detail: fmt.Sprintf("%s, until %s", granted(s.Scope, s.Reach), s.Expires.Format(time.RFC3339))})
	})
	if err != nil {
		return "", &ledger.Unavailable{Err: err}
	}
	return cookie, nil
}

// sessionPlace keeps a sealed session from being anything else, and from being
// read by a key server that knows nothing of a reach.
func sessionPlace(version uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte("latchkey session with a reach"), version)
}

// Session opens what BeginSession sealed, if it still counts: it has not ended, who
// has it did not sign out everywhere since, and its token is there.
func (a *API) Session(cookie string) (s Session, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil || len(raw) < 4 {
		return s, errUnknown
	}
	version := binary.BigEndian.Uint32(raw)
	err = a.ledger.Read(func(v ledger.View) error {
		plain, err := v.Open(Keyring.Ring(""), version, raw[4:], sessionPlace(version))
		if err != nil {
			return errUnknown
		}
		if err := json.Unmarshal(plain.Reveal(), &s); err != nil {
			return errUnknown
		}

		var ended time.Time
		if _, err := v.Load(tableSignouts, signoutKey(s.Who), &ended); err != nil {
			return err
		}
		if v.Has(tableSignouts, signoutKey(string(s.ID))) {
			return errUnknown
		}
		if now := time.Now(); !now.Before(s.Expires) || now.Add(time.Minute).Before(s.Began) || !s.Began.After(ended) {
			return errUnknown
		}
		return nil
	})
	if err != nil || s.Token == nil {
		return s, err
	}

	t, err := a.holder([32]byte(s.Token))
	s.Scope, s.Reach = t.Scope, t.Labels
	return s, err
}

// SignOut ends a session, or all of that person's, wherever they are.
func (a *API) SignOut(ctx context.Context, s Session, from string, everywhere bool) error {
	of, detail := string(s.ID), ""
	if everywhere {
		of, detail = s.Who, "everywhere"
	}
	return a.ledger.Update(ctx, func(t *ledger.Txn) error {
		t.Bump() // an older copy of the store would let them in again
		if err := forgetSignouts(t); err != nil {
			return err
		}
		if err := t.Save(tableSignouts, signoutKey(of), time.Now().UTC()); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: eventSignOut, From: s.Who + " at " + from, Detail: detail})
	})
}

// forgetSignouts removes those that are older than any session.
func forgetSignouts(t *ledger.Txn) error {
	var old [][]byte
	var failed error
	t.View.Scan(tableSignouts, nil, func(key []byte) bool {
		var at time.Time
		if _, failed = t.View.Load(tableSignouts, key, &at); failed == nil && time.Since(at) > MaxSession+time.Hour {
			old = append(old, bytes.Clone(key))
		}
		return failed == nil
	})
	for _, key := range old {
		failed = cmp.Or(failed, t.Remove(tableSignouts, key))
	}
	return failed
}

// EndSessions ends the sessions of everybody.
func (a *API) EndSessions(ctx context.Context) error {
	ring := Keyring.Ring("").String()
	versions, err := a.ledger.RotateKey(ctx, ring)
	if err != nil {
		return err
	}
	for _, v := range versions {
		if v.Current || v.Retired != nil {
			continue
		}
		if _, err := a.ledger.RetireKey(ctx, ring, v.Version, true); err != nil {
			return err
		}
	}
	return a.ledger.Update(ctx, func(t *ledger.Txn) error {
		return t.Note(ledger.Event{Event: eventSignOut, From: ledger.Who(ctx), Detail: "everybody"})
	})
}

// sessionRoutes end sessions.
func (a *API) sessionRoutes() []Route {
	return []Route{{
		Method: "POST", Path: "/v1/sessions/end", Scope: ScopeAdmin, Reaching: OnlyWhole, Doc: "Signs everybody out of the pages.", Answer: struct{}{},
		Do: func(r *http.Request) (any, error) { return struct{}{}, a.EndSessions(r.Context()) },
	}}
}

func signoutKey(who string) []byte {
	sum := sha256.Sum256([]byte(who))
	return sum[:]
}
