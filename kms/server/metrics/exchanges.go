package metrics

import "time"

// Exchanges counts what the protocols do. Nothing in it names a machine:
// label values are few and ours.
type Exchanges struct {
	requests  *Counter
	decisions *Counter
	took      *Histogram
}

// Exchanges adds the metrics of all protocols to a set.
func (s *Set) Exchanges() *Exchanges {
	return &Exchanges{
		requests:  s.Counter("latchkey_requests_total", "Requests by protocol, operation and result: ok, refused, busy, failed.", "protocol", "operation", "result"),
		took:      s.Histogram("latchkey_request_duration_seconds", "Time from a whole request to its answer.", Seconds, "protocol", "operation"),
		decisions: s.Counter("latchkey_decisions_total", "Decisions on machines that proved who they are, by reason; ok is a release.", "protocol", "operation", "reason"),
	}
}

// Request counts one request that began then.
func (e *Exchanges) Request(protocol, operation, result string, began time.Time) {
	e.requests.Inc(protocol, operation, result)
	e.took.Observe(time.Since(began).Seconds(), protocol, operation)
}

// Decision counts one decision; reason "ok" is a release.
func (e *Exchanges) Decision(protocol, operation, reason string) {
	e.decisions.Inc(protocol, operation, reason)
}
