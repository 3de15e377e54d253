package server_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/admin"
	"latchkey/kms/server/policy"
)

// A stream is what a watcher has heard so far.
type stream struct {
	httptest.ResponseRecorder
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// heard is what came since it was asked last.
func (s *stream) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.text.Reset()
	return s.text.String()
}

// The stream tells of machines in reach, and nothing at all of what happens to
// others: not even that something does.
func TestReachOfWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		theirs, others := newTPM(t), newTPM(t)
		f.mustPend(theirs)
		f.mustPend(others)
		for tpm, site := range map[string]string{theirs.NodeID().String(): "oslo", others.NodeID().String(): "cairns"} {
			if _, err := f.SetNode(ctx, tpm, policy.Change{Labels: map[string]string{"site": site}}); err != nil {
				t.Fatal(err)
			}
		}
		h := f.HandlerFor(func(*http.Request) (admin.Person, error) {
			return admin.Person{Who: "oslo", Scope: admin.ScopeRead, Reach: admin.Reach{"site=oslo"}}, nil
		})
		watching, stop := context.WithCancel(ctx)
		defer stop()
		w := &stream{ResponseRecorder: *httptest.NewRecorder()}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			h.ServeHTTP(w, httptest.NewRequest("GET", "/v1/nodes/watch", nil).WithContext(watching))
		}()
		synctest.Wait()
		if text := w.heard(); !strings.Contains(text, theirs.NodeID().String()) || strings.Contains(text, others.NodeID().String()) {
			t.Errorf("the stream begins with %s", text)
		}

		change := func(id string) {
			for _, on := range []bool{true, false} {
				if _, err := f.SetQuarantine(ctx, id, on); err != nil {
					t.Fatal(err)
				}
				time.Sleep(1500 * time.Millisecond) // of the bubble: longer than the stream gathers events
			}
		}
		change(others.NodeID().String())
		if text := w.heard(); text != "" {
			t.Errorf("something happened to another's machine, and the stream says %q", text)
		}
		change(theirs.NodeID().String())
		if text := w.heard(); !strings.Contains(text, theirs.NodeID().String()) {
			t.Errorf("theirs came to wait again, and the stream says %q", text)
		}
		stop()
		<-ended
	})
}
