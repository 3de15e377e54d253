package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"latchkey/kms/front"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/metrics"
	"latchkey/kms/server/rpc"
)

// measured is what the server counts about itself.
type measured struct {
	metrics.Set
	counted *metrics.Exchanges

	recovery sync.Mutex // holds the others
	standing map[string]int
	recount  time.Time
}

// writes counts how long changes take.
func (m *measured) writes() func(seconds float64) {
	h := m.Histogram("latchkey_store_write_seconds", "Time until a change is on stable storage.", metrics.Seconds)
	return func(seconds float64) { h.Observe(seconds) }
}

// watch adds what is read when it is asked for.
func (m *measured) watch(s *Server) {
	s.gaugeSites()
	m.gaugeDataKeys(s)
	m.Gauge("latchkey_pending", "Machines that wait for the operator.", s.gaugePending, "protocol")

	m.Gauge("latchkey_recovery_volumes", "Volumes of machines by how it stands with their recovery key: none, unproven, proven, used, gone.", s.gaugeRecovery, "standing")
	m.Gauge("latchkey_presence_machines", "Machines that must be seen, by whether they are.", func(set func(float64, ...string)) {
		present, vanished := s.Presence()
		set(float64(present), "present")
		set(float64(vanished), "vanished")
	}, "state")

	m.Gauge("latchkey_audit_events", "Events in the audit log.", func(set func(float64, ...string)) {
		if n, err := s.AuditEvents(); err == nil {
			set(float64(n))
		}
	})

	m.Gauge("latchkey_audit_log_events", "Events of the audit log that a checkpoint covers, that none covers yet, and that were removed from the store.", s.gaugeLogs, "what")
	m.Gauge("latchkey_audit_verify_events", "Events that were sealed before the start: those that are verified since, and all.", func(set func(float64, ...string)) {
		verified, of, _ := s.Verifying()
		set(float64(verified), "verified")
		set(float64(of), "all")
	}, "what")

	m.Gauge("latchkey_audit_left_out", "Events of machines that nobody approved that were left out of the audit log since the start.", func(set func(float64, ...string)) {
		set(float64(s.LeftOut()))
	})

	m.Gauge("latchkey_store_writable", "1 if the last write to the store succeeded; without it nothing is released.", func(set func(float64, ...string)) {
		set(truth(s.Healthy() == nil))
	})
	m.Gauge("latchkey_store_readable", "1 if the store can be read.", func(set func(float64, ...string)) {
		set(truth(s.Answers() == nil))
	})

	m.Gauge("latchkey_store_commits", "Writes to a store that several key servers share, by how they ended: done, or conflict, which is tried again.", func(set func(float64, ...string)) {
		if n, shared := s.Counts(); shared {
			set(float64(n.Commits), "done")
			set(float64(n.Conflicts), "conflict")
		}
	}, "result")
	m.Gauge("latchkey_store_rows", "Rows that the writes to a shared store compared and wrote.", func(set func(float64, ...string)) {
		if n, shared := s.Counts(); shared {
			set(float64(n.Compared), "compared")
			set(float64(n.Written), "written")
		}
	}, "what")

	m.Gauge("latchkey_clock_set_seconds", "By how much the wall clock was set since the start.", func(set func(float64, ...string)) { set(s.Jump().Seconds()) })
	m.Process()
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (s *Server) gaugeLogs(set func(float64, ...string)) {
	all, err := s.Logs()
	if err != nil {
		return
	}
	var sealed, open, gone uint64
	for _, l := range all {
		sealed, open, gone = sealed+l.Sealed-l.Gone, open+l.Events-l.Sealed, gone+l.Gone
	}
	set(float64(sealed), "sealed")
	set(float64(open), "open")
	set(float64(gone), "removed")
}

func (s *Server) gaugePending(set func(float64, ...string)) {
	s.Read(func(v ledger.View) error {
		set(float64(s.Service.Pending(v)), "lk1")
		set(float64(s.Kairos.Pending(v)), "kairos")
		set(float64(s.Talos.Pending(v)), "talos")
		return nil
	})
}

// gaugeRecovery counts volumes by how it stands with their recovery keys.
// Looking through all volumes takes at most a hundredth of the time: what was
// counted last is said until then.
func (s *Server) gaugeRecovery(set func(float64, ...string)) {
	m := s.measured
	m.recovery.Lock()
	defer m.recovery.Unlock()
	if began := time.Now(); began.After(m.recount) {
		all, err := s.Recoveries()
		if err != nil {
			return
		}
		m.standing = map[string]int{}
		for _, r := range all {
			m.standing[r.Standing]++
		}
		m.recount = began.Add(100 * time.Since(began))
	}
	counts := m.standing
	for _, standing := range []string{lk1.RecoveryNone, lk1.RecoveryUnproven, lk1.RecoveryProven, lk1.RecoveryUsed, lk1.RecoveryGone} {
		set(float64(counts[standing]), standing)
	}
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
		s.measured.counted.Request(protocol, strings.ToLower(path.Base(method)), rpcResult(err), began)
	}
}

// Metrics answers Prometheus with what the server counted, and with more.
func (s *Server) Metrics(extra ...*metrics.Set) http.Handler {
	return metrics.Handler(append([]*metrics.Set{&s.measured.Set}, extra...)...)
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
			answer := "ok\n"
			if path == "/readyz" {
				answer += s.progress() + s.dataKeyText()
			}
			io.WriteString(w, answer)
		})
	}
	return mux
}

// progress says how far the verification of the sealed audit log has come;
// nothing when it is done.
func (s *Server) progress() string {
	verified, of, done := s.Verifying()
	if done {
		return ""
	}
	return fmt.Sprintf("verifying the audit log before its last checkpoint: %d of %d events\n", verified, of)
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
