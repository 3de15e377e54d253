package kube_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"latchkey/internal/kube"
)

var ctx = context.Background()

// serve is a client of an API server that does what f does.
func serve(t *testing.T, f http.HandlerFunc) (*kube.Client, string) {
	t.Helper()
	api := httptest.NewTLSServer(f)
	t.Cleanup(api.Close)
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	for path, text := range map[string][]byte{
		token:                        []byte("first\n"),
		filepath.Join(dir, "ca.crt"): pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	c, err := kube.New(kube.Config{Server: api.URL, Account: dir})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(c.Close)
	return c, token
}

// The token is read again for each request: it is renewed on disk. What the
// API server says is the error.
func TestDo(t *testing.T) {
	var said string
	c, token := serve(t, func(w http.ResponseWriter, r *http.Request) {
		said = r.Header.Get("Authorization")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"kind":"Status","code":999,"reason":"Forbidden","message":"you cannot"}`)
	})

	err := c.Do(ctx, http.MethodGet, "/x", nil, nil, nil)
	if kube.CodeOf(err) != http.StatusForbidden || !strings.Contains(err.Error(), "you cannot") || said != "Bearer first" {
		t.Errorf("Do with %q = %v, want what the server says", said, err)
	}
	if err := os.WriteFile(token, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}

	if c.Do(ctx, http.MethodGet, "/x", nil, nil, nil); said != "Bearer second" {
		t.Errorf("after the token was renewed the client says %q", said)
	}
}

// Follow reads all pages, then goes on with changes; a history that is gone
// is the server's 410.
func TestFollow(t *testing.T) {
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case q.Get("watch") != "":
			if q.Get("resourceVersion") != "7" || q.Get("labelSelector") != "a=b" {
				t.Errorf("watch asks for %v", q)
			}
			fmt.Fprintln(w, `{"type":"ADDED","object":{"metadata":{"name":"c"}}}`)
			fmt.Fprintln(w, `{"type":"DELETED","object":{"metadata":{"name":"a"}}}`)
			fmt.Fprintln(w, `{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}`)
		case q.Get("continue") == "":
			fmt.Fprint(w, `{"metadata":{"continue":"more","resourceVersion":"7"},"items":[{"metadata":{"name":"a"}}]}`)
		default:
			fmt.Fprint(w, `{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"b"}}]}`)
		}
	})

	var seen []string
	err := c.Follow(ctx, "/things", url.Values{"labelSelector": {"a=b"}}, func(objects map[string]json.RawMessage) {
		seen = append(seen, strings.Join(slices.Sorted(maps.Keys(objects)), ""))
	})
	if kube.CodeOf(err) != http.StatusGone {
		t.Errorf("Follow = %v, want the server's 410", err)
	}

	if want := []string{"ab", "abc", "bc"}; !slices.Equal(seen, want) {
		t.Errorf("Follow showed %v, want %v", seen, want)
	}
}

func TestNoPod(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := kube.New(kube.Config{}); err == nil || !strings.Contains(err.Error(), "this is no pod") {
		t.Errorf("New outside of a pod = %v", err)
	}
	if _, err := kube.New(kube.Config{Server: "https://192.0.2.1", Account: "/nowhere"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("New without a certificate = %v, want %v", err, os.ErrNotExist)
	}
}
