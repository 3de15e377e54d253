package site

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
)

// tableSites is by name.
var tableSites = ledger.NewTableSince("sites", ledger.Sealed, ledger.FormatPeople)

// Tables are those of the center and of a site's server.
func Tables() []*ledger.Table { return []*ledger.Table{tableSites, tableSelf} }

// tokenLife is how long a join file is good.
const tokenLife = 24 * time.Hour

// maxSites bounds how many there are.
const maxSites = 1000

// A Site is one at the center: which machines its server may have, what it may
// give of them when it is cut off, and what was heard of it.
type Site struct {
	Name    string            `json:"name"`
	Labels  map[string]string `json:"labels"` // of its machines: all of them
	Bounds  Bounds            `json:"bounds"`
	Center  []string          `json:"center,omitempty"` // where its server finds the center
	Added   time.Time         `json:"added"`
	Key     *kms.Pin          `json:"-"`
	Pin     string            `json:"pin,omitempty"` // its server's public key, once it has joined
	Removed bool              `json:"removed,omitempty"`
	Refused string            `json:"refused,omitempty"` // why it is not followed any more

	Token   []byte    `json:"token,omitempty"` // SHA-256; none: it was used
	Expires time.Time `json:"expires,omitzero"`

	Merged   ledger.ChainEnd `json:"merged"`             // how far its audit log is in the center's
	Signed   []byte          `json:"signed,omitempty"`   // its signature of what it said last of its log's end
	SaidEnd  ledger.ChainEnd `json:"said_end"`           // that
	Gave     uint64          `json:"gave,omitempty"`     // unlocks by copies, in all
	LastGave time.Time       `json:"last_gave,omitzero"` // the last of them
	Heard    time.Time       `json:"heard,omitzero"`     // within a minute
}

// of tells whether a machine with these labels is one of the site.
func (s *Site) of(labels map[string]string) bool {
	for name, value := range s.Labels {
		if got, ok := labels[name]; !ok || got != value {
			return false
		}
	}
	return len(s.Labels) > 0
}

func load(v ledger.View, name string) (s Site, found bool, err error) {
	if found, err = v.Load(tableSites, []byte(name), &s); err != nil || !found || s.Pin == "" {
		return s, found, err
	}
	pin, err := kms.ParsePin(s.Pin)
	s.Key = &pin
	return s, found, err
}

func save(t *ledger.Txn, s Site) error { return t.Save(tableSites, []byte(s.Name), s) }

// all are the sites, by name.
func all(v ledger.View) (sites []Site, err error) {
	v.Scan(tableSites, nil, func(key []byte) bool {
		var s Site
		if s, _, err = load(v, string(key)); err == nil {
			sites = append(sites, s)
		}
		return err == nil
	})
	return sites, err
}

// A NewSite asks for one.
type NewSite struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	Bounds Bounds            `json:"bounds"`
	Center []string          `json:"center"`          // where its server finds the center: host:port
	Again  bool              `json:"again,omitempty"` // another join file for one that there is: another box takes its place
}

// Limits of bounds: more is no bound.
const (
	maxOffline = 30 * 24 * time.Hour
	maxGiven   = 100_000
)

// Check fills in what follows from the rest, and says what is wrong.
func (n *NewSite) Check() error {
	switch {
	case !named(n.Name):
		return fmt.Errorf("adding a site: the name %.64q must be 1 to 40 small letters, digits and dashes", n.Name)
	case len(n.Center) == 0 || len(n.Center) > 8:
		return fmt.Errorf("adding site %s: say where its server finds this one: --at HOST:PORT", n.Name)
	case len(n.Labels) == 0 || len(n.Labels) > 8:
		return fmt.Errorf("adding site %s: say which machines are its own: --label NAME=VALUE, of node set --label", n.Name)
	}
	if err := n.Bounds.check(); err != nil {
		return fmt.Errorf("adding site %s: %w", n.Name, err)
	}
	return nil
}

// as fills in what is not said of a site that there is: another box for it
// changes no bound by itself.
func (n *NewSite) as(s Site) {
	n.Bounds.as(s.Bounds)
	if len(n.Labels) == 0 {
		n.Labels = s.Labels
	}
	if len(n.Center) == 0 {
		n.Center = s.Center
	}
}

// Add makes a site, and the file by which its server joins. The token in it
// is not kept.
func (c *Center) Add(ctx context.Context, n NewSite) (file JoinFile, err error) {
	if !admin.Here(ctx) {
		return file, fmt.Errorf("adding site %s: %w: it gives a box the keys of machines that others approved, so it is done on the key server's host", n.Name, ledger.ErrRefused)
	}
	text := secret.Passphrase()
	defer text.Wipe()
	now := time.Now().UTC()
	file = JoinFile{Site: n.Name, KMS: c.ledger.Trust().KMS, Token: string(text.Reveal()), Expires: now.Add(tokenLife)}
	hash := sha256.Sum256(text.Reveal())
	err = c.ledger.Update(ctx, func(t *ledger.Txn) error {
		s, found, err := load(t.View, n.Name)
		if found && n.Again {
			n.as(s)
		}
		if err == nil {
			err = n.Check()
		}
		file.Center = n.Center
		switch {
		case err != nil:
			return err
		case found && !s.Removed && !n.Again:
			return fmt.Errorf("adding site %s: %w: there is one; --again makes another join file, with which another server takes the place of its own", n.Name, ledger.ErrRefused)
		case !found && t.View.Count(tableSites, maxSites) == maxSites:
			return fmt.Errorf("adding site %s: %w: there are %d", n.Name, ledger.ErrRefused, maxSites)
		}
		t.Bump()
		if err := save(t, Site{Name: n.Name, Labels: n.Labels, Bounds: n.Bounds, Center: n.Center, Added: now, Token: hash[:], Expires: file.Expires, Gave: s.Gave, LastGave: s.LastGave}); err != nil {
			return err
		}
		bounds, err := json.Marshal(n.Bounds)
		if err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "site add", From: ledger.Who(ctx), Detail: fmt.Sprintf("%s, machines with %v, %s", n.Name, labelText(n.Labels), bounds)})
	})
	return file, err
}

func labelText(labels map[string]string) (texts []string) {
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		texts = append(texts, name+"="+labels[name])
	}
	return texts
}

// Remove ends a site: its server destroys its copies when it hears of it, and
// is never given anything again.
func (c *Center) Remove(ctx context.Context, name string) (s Site, err error) {
	err = c.ledger.Update(ctx, func(t *ledger.Txn) error {
		var found bool
		if s, found, err = load(t.View, name); err != nil {
			return err
		}
		if !found || s.Removed {
			return fmt.Errorf("removing site %.64q: %w", name, ledger.ErrNotFound)
		}
		t.Bump()
		s.Removed, s.Token = true, nil
		if err := save(t, s); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "site remove", From: ledger.Who(ctx), Detail: name})
	})
	return s, err
}

// join binds a server's key to a site, once for a token. Anybody can ask: who
// has no token costs no write.
func (c *Center) join(ctx context.Context, j joining, pin kms.Pin, from string) error {
	err := c.ledger.Read(func(v ledger.View) error {
		_, err := joins(v, j, pin)
		return err
	})
	if err != nil {
		return err
	}
	return c.ledger.Update(ctx, func(t *ledger.Txn) error {
		s, err := joins(t.View, j, pin)
		if err != nil {
			return err
		}
		t.Bump()
		s.Pin, s.Token, s.Expires = pin.String(), nil, time.Time{}
		if err := save(t, s); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "site join", From: from, Detail: s.Name + " " + s.Pin})
	})
}

// joins is the site that a key joins by a token, or why it does not.
func joins(v ledger.View, j joining, pin kms.Pin) (Site, error) {
	sum := sha256.Sum256([]byte(j.Token))
	s, found, err := load(v, j.Name)
	if err != nil {
		return s, err
	}
	if !found || s.Removed || len(s.Token) == 0 || subtle.ConstantTimeCompare(s.Token, sum[:]) == 0 || time.Now().After(s.Expires) {
		return s, fmt.Errorf("joining site %.40q: %w: the token is not the one of its join file, was used, or expired", j.Name, ledger.ErrRefused)
	}
	other, taken, err := byKey(v, pin)
	if err == nil && taken {
		err = fmt.Errorf("joining site %s: %w: this server's key is that of site %s", s.Name, ledger.ErrRefused, other.Name)
	}
	return s, err
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// byKey finds the site whose server has a key.
func byKey(v ledger.View, pin kms.Pin) (Site, bool, error) {
	sites, err := all(v)
	for _, s := range sites {
		if s.Key != nil && bytes.Equal(s.Key[:], pin[:]) {
			return s, true, err
		}
	}
	return Site{}, false, err
}
