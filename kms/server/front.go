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
)

// NewFront answers nodes on a listener, in these protocols or, if none is
// named, in all that are switched on. The front owns the listener.
func NewFront(s *Server, l net.Listener, protocols []Protocol, o front.Options, log *slog.Logger) *front.Front {
	if len(protocols) == 0 {
		protocols = s.protocols
	}
	bare := slices.DeleteFunc(slices.Clone(protocols), func(p Protocol) bool { return p != LK1 }) // lk1 needs no TLS
	return front.New(l, front.Handlers{All: s.handler(protocols), Bare: s.handler(bare)}, o, log)
}

// Handler answers nodes in all protocols that are switched on.
func (s *Server) Handler() http.Handler { return s.handler(s.protocols) }

// handler answers nodes in these protocols.
func (s *Server) handler(protocols []Protocol) http.Handler {
	mux := http.NewServeMux()
	if slices.Contains(protocols, LK1) {
		s.Handle(mux)
	}
	if slices.Contains(protocols, Kairos) {
		h := s.Kairos.Handler()
		for _, path := range []string{kairos.AttestationPath, kairos.GetPath, kairos.PostPath} {
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
func NewK8s(ctx context.Context, s *Server, name string) (*grpc.Server, error) {
	return k8s.NewServer(ctx, s.Ledger, name, s.log, s.observe("k8s"))
}
