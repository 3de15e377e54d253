package server

import (
	"context"
	"errors"
	"net/http"
	"path"
	"runtime"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"latchkey/kms/front"
	"latchkey/kms/server/metrics"
	"latchkey/kms/server/rpc"
)

// measured is what the server counts about itself. Nothing in it names a
// machine: label values are few and ours.
type measured struct {
	metrics.Set
	requests  *metrics.Counter
	decisions *metrics.Counter
	took      *metrics.Histogram
	writes    *metrics.Histogram
}

func newMeasured(s *Server) *measured {
	m := &measured{}
	m.requests = m.Counter("latchkey_requests_total", "Requests by protocol, operation and result: ok, refused, busy, failed.", "protocol", "operation", "result")
	m.took = m.Histogram("latchkey_request_duration_seconds", "Time from a whole request to its answer.", metrics.Seconds, "protocol", "operation")
	m.decisions = m.Counter("latchkey_decisions_total", "Decisions on machines that proved who they are, by reason; ok is a release.", "protocol", "operation", "reason")
	m.writes = m.Histogram("latchkey_store_write_seconds", "Time until a change is on stable storage.", metrics.Seconds)
	m.Gauge("latchkey_pending", "Machines that wait for the operator.", s.gaugePending, "protocol")

	m.Gauge("latchkey_audit_events", "Events in the audit log.", func(set func(float64, ...string)) {
		s.read(func(v view) error {
			st, err := v.readState()
			if err == nil {
				set(float64(st.auditSeq))
			}
			return err
		})
	})

	m.Gauge("latchkey_store_writable", "1 if the last write to the store succeeded; without it nothing is released.", func(set func(float64, ...string)) {
		set(truth(s.Healthy() == nil))
	})
	m.Gauge("latchkey_store_readable", "1 if the store can be read.", func(set func(float64, ...string)) {
		set(truth(s.Answers() == nil))
	})

	m.Gauge("go_goroutines", "Goroutines.", func(set func(float64, ...string)) { set(float64(runtime.NumGoroutine())) })
	m.Gauge("go_memstats_heap_inuse_bytes", "Heap in use.", func(set func(float64, ...string)) {
		var st runtime.MemStats
		runtime.ReadMemStats(&st)
		set(float64(st.HeapInuse))
	})

	return m
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (s *Server) gaugePending(set func(float64, ...string)) {
	s.read(func(v view) error {
		set(float64(v.count(tablePending, maxPending)), "lk1")
		set(float64(v.count(tableKairosPending, maxPending)), "kairos")
		set(float64(v.count(tableTalosPending, maxPending)), "talos")
		return nil
	})
}

// request counts one request that began then.
func (m *measured) request(protocol, operation, result string, began time.Time) {
	m.requests.Inc(protocol, operation, result)
	m.took.Observe(time.Since(began).Seconds(), protocol, operation)
}

// resultOf says how a request for lk1 ended.
func resultOf(err error) string {
	if _, ours := errors.AsType[*unavailable](err); ours {
		return "failed"
	}
	switch {
	case errors.Is(err, errBusy):
		return "busy"
	case err != nil:
		return "refused"
	}
	return "ok"
}

// rpcResult says how a gRPC call ended.
func rpcResult(err error) string {
	switch status.Code(err) {
	case codes.OK:
		return "ok"
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal:
		return "failed"
	}
	return "refused"
}

// observe counts calls of a gRPC server.
func (s *Server) observe(protocol string) rpc.Observe {
	return func(method string, err error, began time.Time) {
		s.measured.request(protocol, strings.ToLower(path.Base(method)), rpcResult(err), began)
	}
}

// Metrics writes what the server counted, for Prometheus. Extra metrics are
// written after it.
func (s *Server) Metrics(extra ...*metrics.Set) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", metrics.ContentType)
		for _, set := range append([]*metrics.Set{&s.measured.Set}, extra...) {
			if _, err := set.WriteTo(w); err != nil {
				return // who asked is gone
			}
		}
	})
}

// Answers tells whether the store can be read.
func (s *Server) Answers() error {
	return s.read(func(v view) error { _, err := v.readState(); return err })
}

// HealthHandler answers /healthz, that the process and its store answer,
// and /readyz, that keys can be released. The reason is in the answer: it
// names no machine.
func (s *Server) HealthHandler() http.Handler {
	mux := http.NewServeMux()
	for path, check := range map[string]func() error{"/healthz": s.Answers, "/readyz": s.Ready} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), front.HeadWait)
			defer cancel()
			if err := within(ctx, check); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			w.Write([]byte("ok\n"))
		})
	}
	return mux
}

// within gives a check that may hang a time.
func within(ctx context.Context, check func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- check() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return errors.New("the store does not answer in time")
	}
}
