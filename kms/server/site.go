package server

import (
	"errors"
	"net/http"
	"slices"

	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/site"
)

// becomeSite makes a server decide by copies, if it is a site's.
func (s *Server) becomeSite(dial site.Dial) error {
	s.SetSites(s.Sites.Of)
	return s.Read(func(v ledger.View) error {
		self, found, err := site.SelfOf(v)
		if err != nil || !found {
			return err
		}
		if !slices.Equal(s.protocols, []Protocol{LK1}) {
			return errors.New("the server of a site speaks lk1 only: its configuration names other protocols")
		}
		s.Follower = site.NewFollower(s.Ledger, s.Service, dial, s.log)
		s.Restrict("this is the server of site "+self.Name+": decide it at the center, which tells it", "/v1/token", "/v1/sessions/", "/v1/audit/", "/v1/store/")
		return s.SetBound(v, s.Follower)
	})
}

// SitesHandler answers the servers of sites, on a listener with the TLS of
// Sites.
func (s *Server) SitesHandler() http.Handler {
	mux := http.NewServeMux()
	s.Handle(mux)
	return s.Sites.Handler(mux)
}

// handleLK1 has a mux answer lk1.
func (s *Server) handleLK1(mux *http.ServeMux) {
	if s.Follower == nil {
		s.Handle(mux)
		return
	}
	local := http.NewServeMux()
	s.Handle(local)
	s.Follower.Handle(mux, byCopies{local, s.Service})
}

// byCopies implements site.Local.
type byCopies struct {
	*http.ServeMux
	*lk1.Service
}
