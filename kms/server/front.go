package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"latchkey/kms/front"
	k8s "latchkey/kms/server/k8s/keeper"
	"latchkey/kms/server/kairos"
	"latchkey/kms/server/tang"
)

// NewFront answers nodes on a listener, in these protocols or, if none is
// named, in all that are switched on. The front owns the listener.
func NewFront(s *Server, l net.Listener, protocols []Protocol, o front.Options, log *slog.Logger) *front.Front {
	if len(protocols) == 0 {
		protocols = s.protocols
	}
	bare := slices.DeleteFunc(slices.Clone(protocols), func(p Protocol) bool { return p == Kairos }) // the others need no TLS
	mux := s.mux(bare)
	if slices.Contains(protocols, Kairos) {
		for _, path := range kairosPaths {
			mux.HandleFunc("GET "+path, wantsTLS)
		}
	}
	return front.New(l, front.Handlers{All: s.handler(protocols), Bare: s.withTang(mux, bare)}, o, log)
}

// kairosPaths are those of the exchanges of Kairos.
var kairosPaths = []string{kairos.AttestationPath, kairos.GetPath, kairos.PostPath}

// wantsTLS says what a client of Kairos is to do that asks without TLS where
// there is TLS.
func wantsTLS(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Upgrade", "TLS/1.2, HTTP/1.1") // RFC 9110, section 15.5.22
	http.Error(w, "this port answers Kairos with TLS only: the URL of the key server begins with https://", http.StatusUpgradeRequired)
}

// Handler answers nodes in all protocols that are switched on.
func (s *Server) Handler() http.Handler { return s.handler(s.protocols) }

// handler answers nodes in these protocols.
func (s *Server) handler(protocols []Protocol) http.Handler {
	return s.withTang(s.mux(protocols), protocols)
}

// withTang answers clients of tang before a mux, which would send them
// elsewhere: their paths may have more slashes than it knows.
func (s *Server) withTang(mux http.Handler, protocols []Protocol) http.Handler {
	if !slices.Contains(protocols, Tang) {
		return mux
	}
	h := s.Tang.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tang.Serves(r.URL.Path) {
			h.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// mux answers all but tang.
func (s *Server) mux(protocols []Protocol) *http.ServeMux {
	mux := http.NewServeMux()
	if slices.Contains(protocols, LK1) {
		s.handleLK1(mux)
	}
	if slices.Contains(protocols, Kairos) {
		h := s.Kairos.Handler()
		for _, path := range kairosPaths {
			mux.Handle("GET "+path, h)
		}
	}
	return mux
}

// NewTalos is the gRPC server for machines of Talos; creds are nil for
// plain text. Its listener is a front.Door.
func NewTalos(s *Server, creds credentials.TransportCredentials) *grpc.Server {
	return s.Talos.Server(creds, s.observe("talos"))
}

// NewK8s is the gRPC server of the KMS plugin with one named key, which is
// made if it is not there. Its listener is a Unix socket.
func NewK8s(ctx context.Context, s *Server, name string, v1 bool) (*grpc.Server, error) {
	return k8s.NewServer(ctx, s.Ledger, name, v1, s.log, s.observe("k8s"))
}
