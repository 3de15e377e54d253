package lk1

import (
	"context"
	"time"

	"latchkey/kms/server/policy"
)

// A LinkView is what somebody sees who has a link: nothing that they must read
// from the console.
type LinkView struct {
	From       string // where the machine is
	First      time.Time
	Boot       []string
	Cover      []string
	Unmeasured bool
	Asks       []Asked // without others' words
	Shown      string  // to be given back: digest of all this
}

// LookByLink shows what a link is for. It changes nothing: programs that look
// at links in messages do not use them up.
func (s *Service) LookByLink(ctx context.Context, link string) (out LinkView, err error) {
	if ctx, err = s.holderOf(ctx, link, ""); err != nil {
		return out, err
	}
	err = s.see(ctx, func(v view) error {
		_, row, err := v.linked(link)
		if err == nil {
			out, err = v.linkView(row)
		}
		return err
	})
	return out, err
}

func (v view) linkView(row nodeRow) (out LinkView, err error) {
	r, err := v.rivals()
	if err != nil {
		return out, err
	}
	n, err := v.presentAsking(row, r)
	if err != nil {
		return out, err
	}
	out = LinkView{From: row.LastFrom, First: row.First, Boot: n.Boot, Asks: n.Asks}
	if n.Cover != nil {
		out.Cover, out.Unmeasured = n.Cover.Lines, n.Cover.Kind == policy.CoverUnmeasured
	}
	for i := range out.Asks {
		out.Asks[i].Others = nil // their words are what their own links ask for
	}
	out.Shown = whatOf(n.Seen, out.Asks)
	return out, nil
}
