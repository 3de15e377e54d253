package server

import (
	"log/slog"
	"net/http"
	"time"
)

// NewHTTP is the HTTP server for nodes, with lk1's deadlines: header and
// message within 5 seconds, an exchange within 20. Its listener goes through
// Limit. Protocols are as for Handler.
func NewHTTP(s *Server, log *slog.Logger, protocols ...Protocol) *http.Server {
	return &http.Server{
		Handler:           s.Handler(protocols...),
		ConnContext:       withConn,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       challengeLife, // a TPM may need as long; idle ones make room
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
