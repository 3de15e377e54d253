package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"latchkey/kms/server/metrics"
	"latchkey/kms/store"
)

// What is counted says what was asked and decided, and names no machine.
func TestMetrics(t *testing.T) {
	f := newKMS(t)
	tpm := f.approved()
	f.mustGet(tpm)
	tpm.PCRs[11] = [32]byte{9}
	if _, err := f.get(tpm); code(err) != "pcr-mismatch" {
		t.Fatal(err)
	}

	if _, err := f.get(newTPM(t)); code(err) != "pending" {
		t.Fatal(err)
	}
	f.Step(2 * time.Hour)
	var more metrics.Set
	more.Gauge("latchkey_more", "More.", func(set func(float64, ...string)) { set(1) })
	status, body := get(f.Metrics(&more), "/metrics")
	text := string(body)
	for _, want := range []string{
		`latchkey_requests_total{operation="challenge",protocol="lk1",result="ok"} 4`,
		`latchkey_requests_total{operation="redeem",protocol="lk1",result="ok"} 4`,
		`latchkey_request_duration_seconds_count{operation="redeem",protocol="lk1"} 4`,
		`latchkey_decisions_total{operation="get",protocol="lk1",reason="ok"} 1`,
		`latchkey_decisions_total{operation="get",protocol="lk1",reason="pcr-mismatch"} 1`,
		`latchkey_decisions_total{operation="get",protocol="lk1",reason="pending"} 2`,
		`latchkey_recovery_volumes{standing="none"}`, `latchkey_pending{protocol="lk1"} 1`, `latchkey_pending{protocol="talos"} 0`,
		"latchkey_clock_set_seconds 7200", "latchkey_store_writable 1", "latchkey_store_readable 1", "latchkey_store_write_seconds_count ", "latchkey_more 1",
	} {
		if status != 200 || !strings.Contains(text, "\n"+want) {
			t.Errorf("the metrics lack %s", want)
		}
	}

	for _, no := range []string{tpm.NodeID().Words(), tpm.NodeID().String(), root.String(), "127.0.0.1", canary} {
		if strings.Contains(text, no) {
			t.Errorf("the metrics have %q", no)
		}
	}
}

// How far the audit log is verified is said by /readyz, which is ready
// meanwhile, and counted.
func TestVerifyingIsSaid(t *testing.T) {
	f := newKMS(t)
	f.mustGet(f.approved())
	if _, err := f.SealDue(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.CheckTail(); err != nil {
		t.Fatal(err)
	}
	_, of, _ := f.Verifying()
	says := fmt.Sprintf("verifying the audit log before its last checkpoint: 0 of %d events", of)
	if status, body := get(f.HealthHandler(), "/readyz"); status != 200 || !strings.Contains(string(body), says) {
		t.Errorf("/readyz = %d %q, want 200 and %q", status, body, says)
	}
	if err := f.VerifySealed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, body := get(f.HealthHandler(), "/readyz"); status != 200 || string(body) != "ok\n" {
		t.Errorf("/readyz = %d %q, want ok", status, body)
	}
	status, body := get(f.Metrics(), "/metrics")
	for _, want := range []string{
		fmt.Sprintf(`latchkey_audit_verify_events{what="verified"} %d`, of), fmt.Sprintf(`latchkey_audit_verify_events{what="all"} %d`, of),
		fmt.Sprintf(`latchkey_audit_log_events{what="sealed"} %d`, of), `latchkey_audit_log_events{what="open"} 0`, `latchkey_audit_log_events{what="removed"} 0`,
	} {
		if status != 200 || of == 0 || !strings.Contains(string(body), "\n"+want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// F23: on a full disk the server lives and is not ready, and says why.
func TestReadiness(t *testing.T) {
	disk := &full{}
	f := newKMS(t, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store {
			disk.Store = st
			return disk
		}
	})

	tpm := f.approved()
	want := func(when string, health, ready int) {
		t.Helper()
		for path, want := range map[string]int{"/healthz": health, "/readyz": ready} {
			status, body := get(f.HealthHandler(), path)
			if status != want || want == http.StatusOK && string(body) != "ok\n" || want != http.StatusOK && !strings.Contains(string(body), "no space left") {
				t.Errorf("%s: %s = %d %q, want %d", when, path, status, body, want)
			}
		}
	}

	want("at first", 200, 200)
	disk.on.Store(true)
	if _, err := f.get(tpm); err == nil {
		t.Error("a key was given out without audit")
	}
	want("disk full", 200, http.StatusServiceUnavailable)
	if _, body := get(f.Metrics(), "/metrics"); !strings.Contains(string(body), "\nlatchkey_store_writable 0") {
		t.Error("the metrics say that the store is writable")
	}

	disk.on.Store(false)
	f.mustGet(tpm)
	want("room again", 200, 200)
}
