package daemon

import (
	"context"
	"crypto/tls"
	"log/slog"

	"latchkey/kms/front"

	"latchkey/kms/config"
	"latchkey/kms/page"
	"latchkey/kms/server"
	"latchkey/kms/server/hook"
	"latchkey/kms/server/lk1"
)

// listenRemote serves the administration over HTTPS.
func (f *listeners) listenRemote(one *config.Admin, s *server.Server, log *slog.Logger) error {
	pair, err := f.pairs.tls(one.TLS, log)
	if err != nil {
		return err
	}

	l, err := f.sockets.tcp(one.Address)
	if err != nil {
		return err
	}

	f.remote = newRemote(one, pair, s, log)
	web := f.remote.outer
	door := tls.NewListener(front.Door(l, front.Options{Limits: front.Limits{InAll: 256}}), web.TLSConfig)
	f.all = append(f.all, listener{addr: l.Addr(), what: "for administration ", answering: httpFront{web, door}})
	return nil
}

// tellHooks tells hooks what happens, until ctx ends, with a link to the
// machine's page where pages is their address.
func tellHooks(ctx context.Context, hooks []hook.Hook, pages string, s *server.Server, log *slog.Logger) {
	if len(hooks) == 0 {
		return
	}
	for i := range hooks {
		hooks[i].Link = func(ctx context.Context, h hook.Hook, n hook.Notice) (string, error) {
			link, err := s.NewLink(ctx, n.Node, lk1.Holder{Hook: h.Target.String(), Number: i, Person: h.Person, Reach: h.Labels})
			if link != "" {
				link = pages + page.LinkPath + link
			}
			return link, err
		}
		hooks[i].Sees = func(n hook.Notice, labels []string) bool { return s.InReach(labels, n.Node) }
	}
	set := hook.Start(hooks, log)
	defer set.Stop()
	s.Tell(ctx, func(n hook.Notice) {
		if pages != "" && n.Words != "" {
			n.Link = pages + "/machines/" + n.Node
		}
		set.Tell(n)
	})
}
