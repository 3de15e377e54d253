package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"latchkey/kms/ledger"
)

func serveHTTP(t testing.TB, h http.Handler) string {
	t.Helper()
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	return web.URL
}

// log reads the audit log through the operator's interface.
func (f *fixture) log() (events []ledger.Event) {
	f.t.Helper()
	_, body := get(f.AdminHandler(), "/v1/audit?from=1")
	if err := json.Unmarshal(body, &events); err != nil {
		f.t.Fatalf("audit log: %v in %s", err, body)
	}
	return events
}

// events counts grants and refusals of one operation with status ok.
func (f *fixture) events(operation string) (n int) {
	for _, e := range f.log() {
		if e.Event == operation && e.Status == "ok" {
			n++
		}
	}
	return n
}

// get asks the operator's interface.
func get(h http.Handler, path string) (int, []byte) {
	r, _ := http.NewRequestWithContext(context.Background(), "GET", "http://kms"+path, http.NoBody)
	w := &answer{status: 200, header: http.Header{}}
	h.ServeHTTP(w, r)
	return w.status, w.body.Bytes()
}
