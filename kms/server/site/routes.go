package site

import (
	"fmt"
	"net/http"
	"time"

	"latchkey/internal/strictjson"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
)

// A Status is how it stands with a site, for its operator.
type Status struct {
	Name     string            `json:"name"`
	Labels   map[string]string `json:"labels"`
	Bounds   Bounds            `json:"bounds"`
	State    string            `json:"state"` // waits, joined, refused, removed
	Refused  string            `json:"refused,omitempty"`
	Trust    []string          `json:"trust,omitempty"`    // what the images of its machines pin: the center's keys, and its server's
	Machines int               `json:"machines"`           // that its server may have
	Copies   string            `json:"copies"`             // that its server has: current, behind, or unknown to this process, which has not heard it
	Heard    time.Time         `json:"heard,omitzero"`     // last
	Behind   uint64            `json:"behind"`             // events that its server said it has, and the center has not
	Gave     uint64            `json:"gave"`               // unlocks while it was cut off, in all
	LastGave time.Time         `json:"last_gave,omitzero"` // the last of them
}

// status is a site as it stands.
func (c *Center) status(s Site) Status {
	now, _ := c.roster.of(s.Name)
	c.mu.Lock()
	h := c.heard[s.Name]
	c.mu.Unlock()
	out := Status{
		Name: s.Name, Labels: s.Labels, Bounds: s.Bounds, State: "waits", Refused: s.Refused, Machines: len(now), Heard: s.Heard,
		Behind: s.SaidEnd.Seq - s.Merged.Seq, Gave: s.Gave, LastGave: s.LastGave,
	}
	if h.at.After(out.Heard) {
		out.Heard = h.at.UTC()
	}
	switch {
	case h.at.IsZero():
		out.Copies = "unknown"
	case h.all == markAll(now):
		out.Copies = "current"
	default:
		out.Copies = "behind"
	}
	switch {
	case s.Removed:
		out.State = "removed"
	case s.Refused != "":
		out.State = "refused"
	case s.Key != nil:
		out.State, out.Trust = "joined", append(c.ledger.Trust().KMS, s.Pin)
	}
	return out
}

// List lists the sites; one, if it is named.
func (c *Center) List(name string) (out []Status, err error) {
	out = []Status{}
	err = c.ledger.Read(func(v ledger.View) error {
		sites, err := all(v)
		for _, s := range sites {
			if name == "" || s.Name == name {
				out = append(out, c.status(s))
			}
		}
		return err
	})
	if err == nil && name != "" && len(out) == 0 {
		err = fmt.Errorf("looking for site %.64q: %w", name, ledger.ErrNotFound)
	}
	return out, err
}

// Routes are those of the center.
func (c *Center) Routes() []admin.Route {
	name := admin.Param{Name: "name", Doc: "name of the site", Required: true}
	return []admin.Route{
		{
			Method: "GET", Path: "/v1/sites", Scope: admin.ScopeRead, Reaching: admin.OnlyWhole, Doc: "Lists the sites whose servers go on when they are cut off, and how it stands with them.",
			Query: []admin.Param{{Name: "name", Doc: "of the only one to show"}}, Answer: []Status{},
			Do: func(r *http.Request) (any, error) { return c.List(r.URL.Query().Get("name")) },
		},
		{
			Method: "POST", Path: "/v1/site/add", Scope: admin.ScopeAdmin, Reaching: admin.OnlyWhole, Doc: "Adds a site, and answers the file by which its server joins, once.", Body: NewSite{}, Answer: JoinFile{},
			Do: func(r *http.Request) (any, error) {
				var n NewSite
				if err := strictjson.Decode(r.Body, &n); err != nil {
					return nil, err
				}
				return c.Add(r.Context(), n)
			},
		},
		{
			Method: "POST", Path: "/v1/site/bounds", Scope: admin.ScopeAdmin, Reaching: admin.OnlyWhole, Doc: "Gives a site other bounds; what is 0 stays as it was.", Query: []admin.Param{name}, Body: Bounds{}, Answer: Status{},
			Do: func(r *http.Request) (any, error) {
				var b Bounds
				if err := strictjson.Decode(r.Body, &b); err != nil {
					return nil, err
				}
				s, err := c.SetBounds(r.Context(), r.URL.Query().Get("name"), b)
				return c.status(s), err
			},
		},
		{
			Method: "POST", Path: "/v1/site/remove", Scope: admin.ScopeAdmin, Reaching: admin.OnlyWhole, Doc: "Ends a site: its server destroys what it has as soon as it hears of it.", Query: []admin.Param{name}, Answer: Status{},
			Do: func(r *http.Request) (any, error) {
				s, err := c.Remove(r.Context(), r.URL.Query().Get("name"))
				return c.status(s), err
			},
		},
	}
}
