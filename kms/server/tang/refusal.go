package tang

import "net/http"

// A Reason says why a request gets nothing.
type Reason int

// Reasons.
const (
	Malformed   Reason = iota + 1 // no JSON, no point, or one that is not on the key's curve
	TooLarge                      // a request of more than maxBody bytes
	NotExchange                   // the key, or the request's, is not for the exchange
	NoKey                         // nobody has the key of that thumbprint, or another client
	Retired                       // the key was destroyed
	Revoked                       // the client was revoked
	Network                       // from an address where it may not be asked from
	Window                        // outside of the windows
	TooOften                      // a source asks more often than it may
)

// reasons are the codes that logs and hooks have, and what tang answers.
var reasons = map[Reason]struct {
	code   string
	status int
}{
	Malformed: {"malformed", http.StatusBadRequest}, TooLarge: {"too-large", http.StatusRequestEntityTooLarge},
	NotExchange: {"not-exchange", http.StatusForbidden}, NoKey: {"no-key", http.StatusNotFound},
	Retired: {"retired", http.StatusNotFound}, Revoked: {"revoked", http.StatusNotFound},
	Network: {"network", http.StatusForbidden}, Window: {"window", http.StatusForbidden},
	TooOften: {"too-often", http.StatusTooManyRequests},
}

// Code is the reason as logs have it.
func (r Reason) Code() string { return reasons[r].code }

func (r Reason) status() int { return reasons[r].status }

// A Refusal is a Keeper's no. The client is told a status of HTTP only, and a
// key that was retired, or is another's, looks like one that never was.
type Refusal struct {
	Reason Reason
	Detail string
}

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return r.Reason.Code()
	}
	return r.Reason.Code() + ": " + r.Detail
}
