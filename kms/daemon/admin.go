package daemon

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"

	"latchkey/kms/config"
	"latchkey/kms/server"
	"latchkey/kms/server/hook"
)

// listenRemote serves the administration over HTTPS.
func (f *front) listenRemote(one *config.Admin, s *server.Server, log *slog.Logger) error {
	pair, err := f.pairs.tls(one.TLS, log)
	if err != nil {
		return err
	}

	l, err := net.Listen("tcp", one.Address)
	if err != nil {
		return err
	}

	clients := map[string]server.Scope{}
	for _, c := range one.Clients {
		clients[c.Name] = server.Scope(c.Scope)
	}
	web := server.NewRemoteAdmin(s, server.RemoteOptions{Clients: clients, CAs: one.CAs}, pair, log)
	door := tls.NewListener(server.Door(l, server.FrontOptions{Limits: server.Limits{InAll: 256}}), web.TLSConfig)
	f.all = append(f.all, frontListener{addr: l.Addr(), what: "for administration ", answering: httpFront{web, door}})
	return nil
}

// tellHooks tells hooks what happens, until ctx ends.
func tellHooks(ctx context.Context, hooks []hook.Hook, s *server.Server, log *slog.Logger) {
	if len(hooks) == 0 {
		return
	}
	set := hook.Start(hooks, log)
	defer set.Stop()
	s.Tell(ctx, set.Tell)
}
