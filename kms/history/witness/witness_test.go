package witness_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"latchkey/kms/history"
	"latchkey/kms/history/witness"
	"latchkey/kms/history/witnesstest"
)

// An answer that does not cosign is one line that says so.
func TestNotCosigned(t *testing.T) {
	key, err := history.ParseWitnessKey(witnesstest.Start(t).VKey)
	if err != nil {
		t.Fatal(err)
	}
	const checkpoint = "o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n"

	for status, says := range map[int]string{200: "— witness.example/w1 AAAA\n", 409: "many\n", 403: "who?\n"} {
		web := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			out.WriteHeader(status)
			out.Write([]byte(says))
		}))
		_, err := witness.Witness{URL: web.URL, Key: key, Client: web.Client()}.Ask(t.Context(), checkpoint, 0, nil)
		if !errors.Is(err, history.ErrNotCosigned) || strings.Contains(err.Error(), "\n") {
			t.Errorf("HTTP status %d: Ask = %v, want one line of %v", status, err, history.ErrNotCosigned)
		}
		web.Close()
	}
}
