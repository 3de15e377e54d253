package daemon

import (
	"context"
	"crypto/tls"
	"log/slog"

	"latchkey/kms/front"

	"latchkey/kms/config"
	"latchkey/kms/server"
	"latchkey/kms/server/hook"
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
