package server_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// On a store that servers share the data key is not changed in place (0094),
// and the refusal says how it is done.
func TestRekeyOfASharedStore(t *testing.T) {
	p := newReplicas(t)
	w := httptest.NewRecorder()
	p.spent.AdminHandler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/store/rekey", nil))
	if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "store migrate") {
		t.Errorf("status %d, %s", w.Code, w.Body)
	}
	p.mustGet()
}
