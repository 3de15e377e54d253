package server

import (
	"log/slog"
	"net"

	"latchkey/kms/front"
)

// NewFront answers nodes on a listener, in these protocols or, if none is
// named, in all that are switched on. The front owns the listener.
func NewFront(s *Server, l net.Listener, protocols []Protocol, o front.Options, log *slog.Logger) *front.Front {
	return front.New(l, front.Handlers{All: s.Handler(protocols...), Bare: s.plainHandler(protocols)}, o, log)
}

// Names of package front that cmd/latchkey-kms has from here for now.
type (
	FrontOptions = front.Options
	Limits       = front.Limits
	Certificate  = front.Certificate
)

var (
	Door            = front.Door
	LoadCertificate = front.LoadCertificate
)
