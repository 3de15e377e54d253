package daemon

import (
	"context"

	"latchkey/kms/config"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
)

// followPolicy reads each new edition of the policy as soon as a server on the
// store has taken it, so that the next challenge asks for what it needs. What
// is decided is judged by it in any case.
func (d *Daemon) followPolicy(ctx context.Context, s *server.Server) {
	events, stop := s.ListenAll()
	defer stop()
	d.comparePolicy(d.Config, s)
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events.Events:
			if e.Event == "policy apply" || e.Event == "policy revert" {
				d.log.Info("the policy in the store was changed", "detail", e.Detail, "by", e.From)
				d.comparePolicy(d.Config, s)
			}
		}
	}
}

// comparePolicy says whether the configuration's policy is one that nobody
// goes by.
func (d *Daemon) comparePolicy(c *config.Config, s *server.Server) {
	if err := s.Read(s.Follow); err != nil {
		d.log.Error("the policy in the store cannot be read: no machine is given anything", "err", err)
		return
	}
	e, err := s.Policy.Show(0)
	if err != nil || e.Number == 0 || e.ToFile {
		return
	}
	if c.File == "" {
		return
	}
	if p, err := config.ReadPolicy(c.File); err == nil && string(p.Text) != e.Text {
		d.log.Warn("the section policy of the configuration file is not used: the store has another one; apply the file's (latchkey-kms policy apply -f FILE), or remove it from the file", "file", c.File, "edition", e.Number, "by", e.Who)
	}
}

// fits is an error if the configuration asks for what a store that earlier
// key servers still use has no place for.
func fits(c *config.Config, s *server.Server) error {
	needs := ""
	switch {
	case c.Policy.Rules.AsksPresence():
		needs = "policy: presence and moved"
	case len(c.Recovery.Recipients) > 0:
		needs = "recovery.recipients"
	default:
		return nil
	}
	return s.Read(func(v ledger.View) error { return v.Needs(needs, ledger.FormatPeople) })
}
