package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"latchkey/kms/config"
	"latchkey/kms/front"
	"latchkey/kms/server"
	"latchkey/kms/server/site"
)

// siteLimits are of connections. A site's server has one for each machine that
// asks at once, and all machines do after a power cut; several sites may have
// one address.
var siteLimits = front.Limits{PerAddress: 4 * site.MaxConnections, PerNetwork: 4 * site.MaxConnections, InAll: 32 * site.MaxConnections}

// listenSites answers the servers of sites.
func (f *listeners) listenSites(one *config.SitesSection, s *server.Server, log *slog.Logger) error {
	if s.Follower != nil {
		return errors.New("this is the server of a site, and no center: take sites.address out of its configuration")
	}
	l, err := net.Listen("tcp", one.Address)
	if err != nil {
		return err
	}
	web := &http.Server{
		Handler: s.SitesHandler(), TLSConfig: s.Sites.TLS(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 20 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	door := tls.NewListener(front.Door(l, front.Options{Limits: siteLimits}), web.TLSConfig)
	f.all = append(f.all, listener{addr: l.Addr(), what: "for sites ", answering: httpFront{web, door}})
	return nil
}

// checkSite refuses what the server of a site does not do.
func checkSite(c *config.Config, s *server.Server) error {
	if s.Follower != nil && (c.Talos.Address != "" || len(c.K8s) > 0) {
		return errors.New("the server of a site speaks lk1 only: take talos and k8s out of its configuration")
	}
	return nil
}

// followSites keeps what the servers of sites are told, or follows the center
// if this is one.
func followSites(ctx context.Context, c *config.Config, s *server.Server) {
	switch {
	case s.Follower != nil:
		s.Follower.Follow(ctx)
	case c.Sites.Address != "":
		s.Sites.Follow(ctx)
	}
}
