package front_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"latchkey/kms/front"
)

// TestRetryAfterIsJittered: machines that were put off at one moment come
// back at different ones. Of 400 draws from four values none is missing but
// once in 10⁴⁹ runs.
func TestRetryAfterIsJittered(t *testing.T) {
	seen := map[int]int{}
	for range 400 {
		w := httptest.NewRecorder()
		front.Busy(w)
		seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
		if w.Code != http.StatusServiceUnavailable || err != nil || seconds < 1 || seconds > 4 {
			t.Fatalf("Busy answers %d, Retry-After %q, want 503 and 1 to 4", w.Code, w.Header().Get("Retry-After"))
		}
		seen[seconds]++
	}
	if len(seen) != 4 {
		t.Errorf("all that were put off were told %v, want 1 to 4 seconds", seen)
	}
}
