package site

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
)

// A Center answers the servers of sites.
type Center struct {
	ledger *ledger.Ledger
	nodes  Nodes
	log    *slog.Logger
	roster roster
	// looking is held while machines are read and the roster is written, so
	// that what was read last is what stands there.
	looking sync.Mutex

	mu    sync.Mutex
	heard map[string]heard
}

// heard is what this process knows of a site's server.
type heard struct {
	at    time.Time
	all   mark // of the copies that it has
	wrote time.Time
}

// NewCenter makes a center of the machines of a ledger.
func NewCenter(l *ledger.Ledger, n Nodes, log *slog.Logger) *Center {
	return &Center{ledger: l, nodes: n, log: log, roster: roster{sites: map[string]map[kms.NodeID]mark{}, changed: make(chan struct{})}, heard: map[string]heard{}}
}

// Of tells whether machines with these labels are of a site: lk1.Sites.
func (c *Center) Of(v ledger.View, name string, labels map[string]string) bool {
	s, found, err := load(v, name)
	return err == nil && found && !s.Removed && s.of(labels)
}

// TLS is what a listener for sites' servers needs.
func (c *Center) TLS() *tls.Config { return serverTLS(c.ledger.Signing) }

// Handler answers sites' servers, and by machines' handler the machines whose
// messages they pass on.
func (c *Center) Handler(machines http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+joinPath, c.answerJoin)
	mux.HandleFunc("POST "+syncPath, c.known(c.answerSync))
	for _, path := range relayed {
		mux.HandleFunc("POST "+path, c.known(func(w http.ResponseWriter, r *http.Request, s Site) {
			from := front.Remote(r)
			if a, err := netip.ParseAddr(r.Header.Get(fromHeader)); err == nil {
				from = a.String()
			}
			r.RemoteAddr = "[" + lk1.From(from, s.Name) + "]:0"
			machines.ServeHTTP(w, r)
		}))
	}
	return mux
}

// relayed are the messages of machines that are passed on.
var relayed = []string{kms.ChallengePath, kms.RedeemPath, kms.ReportPath, kms.EvidencePath, kms.RecoveryPath, kms.BeatPath}

// known answers a site's server, by its key. Who has none of a site is told
// that it is no site: it may have been one.
func (c *Center) known(f func(http.ResponseWriter, *http.Request, Site)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var s Site
		pin, found := peerOf(r.TLS)
		err := c.ledger.Read(func(v ledger.View) (err error) {
			if found {
				s, found, err = byKey(v, pin)
			}
			return err
		})
		switch {
		case err != nil:
			c.log.Error("looking for a site", "err", err)
			front.Busy(w)
		case !found || s.Removed:
			c.log.Warn("refused the server of a site that is none", "from", front.Remote(r), "key", pin, "site", s.Name)
			w.WriteHeader(http.StatusGone)
		case s.Refused != "":
			http.Error(w, s.Refused, http.StatusConflict)
		default:
			f(w, r, s)
		}
	}
}

func (c *Center) answerJoin(w http.ResponseWriter, r *http.Request) {
	pin, ok := peerOf(r.TLS)
	var j joining
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJoin))
	if err == nil {
		err = json.Unmarshal(body, &j)
	}
	if !ok || err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	err = c.join(r.Context(), j, pin, front.Remote(r))
	switch {
	case errors.Is(err, ledger.ErrRefused):
		c.log.Warn("refused to join", "from", front.Remote(r), "why", err)
		http.Error(w, err.Error(), http.StatusForbidden)
	case err != nil:
		c.log.Error("joining a site", "err", err)
		front.Busy(w)
	}
}

func (c *Center) answerSync(w http.ResponseWriter, r *http.Request, s Site) {
	var said report
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSync))
	if err == nil {
		err = json.Unmarshal(body, &said)
	}
	if err != nil || len(said.Links) > maxLinks {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	a, err := c.sync(r.Context(), s, &said)
	defer func() {
		for _, one := range a.Changed {
			clear(one.Copy)
		}
	}()
	switch {
	case errors.Is(err, errAstray):
		c.log.Error("following a site", "site", s.Name, "err", err)
		http.Error(w, err.Error(), http.StatusConflict)
		return
	case err != nil:
		c.log.Error("following a site", "site", s.Name, "err", err)
		front.Busy(w)
		return
	}
	text, err := json.Marshal(a)
	if err != nil {
		front.Busy(w)
		return
	}
	defer clear(text)
	w.Header().Set("Content-Type", "application/json")
	w.Write(text)
}

// holdFor is how long an answer waits for news: a connection on which nothing
// comes for longer is none.
const holdFor = 10 * time.Second

// sync takes what a site's server says, and tells it what is new.
func (c *Center) sync(ctx context.Context, s Site, said *report) (a answer, err error) {
	if s, err = c.merge(ctx, s, said); err != nil {
		return a, err
	}
	now, news := c.roster.of(s.Name)
	c.hear(ctx, s.Name, said.All)
	more := said.End.Seq > s.Merged.Seq
	if !said.Tell && !more && markAll(now) == said.All {
		select {
		case <-news:
		case <-time.After(holdFor):
		case <-ctx.Done():
		}
	}
	c.looking.Lock()
	defer c.looking.Unlock()
	now, _ = c.roster.of(s.Name)
	a.Merged = s.Merged
	err = c.ledger.Read(func(v ledger.View) error {
		s, found, err := load(v, s.Name)
		if err != nil {
			return err
		}
		a.Removed = !found || s.Removed || s.Key == nil
		a.Bounds, a.Pins = s.Bounds, c.ledger.Trust().KMS
		if a.Removed || !said.Tell {
			return nil
		}
		return c.news(v, &a, s, now, said.Have)
	})
	a.All = markAll(now)
	return a, err
}

// news are the copies that a server does not have, as they are at this
// moment, and those that it must no longer have. It brings the roster, and
// now, which is a copy of it, up to that.
func (c *Center) news(v ledger.View, a *answer, s Site, now, have map[kms.NodeID]mark) error {
	for id, m := range now {
		if had, ok := have[id]; ok && had == m || len(a.Changed) == maxChange {
			continue
		}
		labels, found, err := c.nodes.Labels(v, id)
		if err != nil {
			return err
		}
		var copied secret.Bytes
		if found && s.of(labels) {
			if copied, found, err = c.nodes.Copy(v, id); err != nil {
				return err
			}
		}
		if !found || !s.of(labels) {
			delete(now, id)
			continue
		}
		now[id] = markOf(copied.Reveal())
		a.Changed = append(a.Changed, change{id, now[id], copied.Reveal()})
	}
	for id := range have {
		if _, still := now[id]; !still {
			a.Gone = append(a.Gone, id)
		}
	}
	c.roster.set(s.Name, now)
	return nil
}

// heardEvery is how often it is written down that a site was heard.
const heardEvery = time.Minute

func (c *Center) hear(ctx context.Context, name string, all mark) {
	now := time.Now()
	c.mu.Lock()
	h := c.heard[name]
	h.at, h.all = now, all
	write := now.Sub(h.wrote) >= heardEvery
	if write {
		h.wrote = now
	}
	c.heard[name] = h
	c.mu.Unlock()
	if !write {
		return
	}
	err := c.ledger.Update(ctx, func(t *ledger.Txn) error {
		s, found, err := load(t.View, name)
		if err != nil || !found {
			return err
		}
		s.Heard = now.UTC()
		return save(t, s)
	})
	if err != nil {
		c.log.Warn("writing down that a site was heard", "site", name, "err", err)
	}
}
