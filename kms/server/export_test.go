package server

import "time"

// SetClock changes what the replicas of a KMS have to agree on: this one's
// clock.
func (s *Server) SetClock(by time.Duration) { s.cookies.base += by }
