package page

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"latchkey/kms/front"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
)

// LinkPath is where links are that approve a machine; what follows is secret.
const LinkPath = "/link/"

// Links are those that notices have.
type Links interface {
	LookByLink(ctx context.Context, link string) (lk1.LinkView, error)
	ApproveByLink(ctx context.Context, link string, w lk1.LinkWord) (lk1.Approved, error)
}

// linkView is what a link shows.
type linkView struct {
	lk1.LinkView
	Refused string // why what was typed did nothing
}

// showLink shows what a link is for. Programs that look at links in messages
// ask for it, too: it changes nothing.
func (p *Page) showLink(w http.ResponseWriter, r *http.Request) { p.linkPage(w, r, http.StatusOK, "") }

func (p *Page) linkPage(w http.ResponseWriter, r *http.Request, status int, refused string) {
	// The address is the secret: nobody is told it by this page.
	w.Header().Set("Referrer-Policy", "no-referrer")
	one, err := p.Links.LookByLink(r.Context(), r.PathValue("link"))
	if err != nil {
		p.noLink(w, err)
		return
	}
	p.render(w, status, "link", view{Path: LinkPath, Data: linkView{one, refused}})
}

// useLink approves, if the words are right.
func (p *Page) useLink(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Referrer-Policy", "no-referrer")
	if err := r.ParseForm(); err != nil {
		p.linkPage(w, r, http.StatusBadRequest, "Nothing was done: the form cannot be read.")
		return
	}
	for name, said := range r.Form {
		if len(said) > 1 {
			p.linkPage(w, r, http.StatusBadRequest, fmt.Sprintf("Nothing was done: %.20q is said %d times: say it once.", name, len(said)))
			return
		}
	}
	out, err := p.Links.ApproveByLink(r.Context(), r.PathValue("link"), lk1.LinkWord{
		Words: r.PostFormValue("words"), Shown: r.PostFormValue("shown"), From: front.Remote(r),
	})
	switch {
	case errors.Is(err, lk1.ErrWords):
		p.linkPage(w, r, http.StatusForbidden, "These are not the words of the machine that this link is for. After three times the link is dead.")
	case errors.Is(err, ledger.ErrRefused):
		p.linkPage(w, r, http.StatusConflict, "Nothing was done: "+strings.TrimPrefix(err.Error(), ledger.ErrRefused.Error()+": "))
	case err != nil:
		p.noLink(w, err)
	default:
		p.render(w, http.StatusOK, "linked", view{Path: LinkPath, Data: out.Node.Needs})
	}
}

// noLink is one page for links that were used, are too old, or never were.
func (p *Page) noLink(w http.ResponseWriter, err error) {
	if !errors.Is(err, lk1.ErrLink) {
		p.Log.Error("showing a link", "err", err)
		p.render(w, http.StatusServiceUnavailable, "problem", view{Path: LinkPath, Data: problem{"The key server cannot answer now. Try again.", "/machines"}})
		return
	}
	if p.forged.full(time.Now()) {
		w.Header().Set("Retry-After", "60")
		p.render(w, http.StatusTooManyRequests, "problem", view{Path: LinkPath, Data: problem{"Too many links that are none were asked for. Try again in a minute.", "/machines"}})
		return
	}
	p.render(w, http.StatusNotFound, "problem", view{Path: LinkPath, Data: problem{"This link is not good, or no longer: it is for one approval, within ten minutes, of a machine that has shown nothing else since. Whoever may sign in finds the machine there.", "/machines"}})
}

// maxForged is how many links that are none are answered within a minute, from
// everywhere together. Links that are good are always answered.
const maxForged = 60

// A throttle counts what happens within a minute.
type throttle struct {
	mu    sync.Mutex
	since time.Time
	n     int
}

// full counts one more, and tells whether it is too many.
func (t *throttle) full(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.since) >= time.Minute {
		t.since, t.n = now, 0
	}
	t.n++
	return t.n > maxForged
}
