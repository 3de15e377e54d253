package main

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"latchkey/internal/testlan"
)

// An apiServer answers lists and watches of one kind of object.
type apiServer struct {
	*httptest.Server
	mu      sync.Mutex
	object  string // "": there is none
	watches []chan string
	status  int // answered instead, if not 0
}

func newAPI(t *testing.T, listener net.Listener) *apiServer {
	t.Helper()
	a := &apiServer{}
	a.Server = httptest.NewUnstartedServer(a)
	a.Listener = listener
	a.StartTLS()
	t.Cleanup(func() { a.CloseClientConnections(); a.Close() })
	return a
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	object, status := a.object, a.status
	events := make(chan string, 8)
	watching := r.URL.Query().Get("watch") != ""
	if watching {
		a.watches = append(a.watches, events)
	}
	a.mu.Unlock()

	switch {
	case status != 0 || r.Header.Get("Authorization") != "Bearer secret" || !strings.HasSuffix(r.URL.Query().Get("fieldSelector"), "kms") ||
		r.URL.Path != "/api/v1/namespaces/keys/services" && r.URL.Path != "/apis/networking.k8s.io/v1/namespaces/keys/ingresses":
		w.WriteHeader(max(status, http.StatusForbidden))
		fmt.Fprintf(w, `{"kind":"Status","code":403,"message":"services is forbidden"}`)
	case !watching:
		fmt.Fprintf(w, `{"metadata":{"resourceVersion":"1"},"items":[%s]}`, object)
	default:
		w.(http.Flusher).Flush()
		for {
			select {
			case <-r.Context().Done():
				return
			case e := <-events:
				io.WriteString(w, strings.ReplaceAll(e, "\n", "")+"\n")
				w.(http.Flusher).Flush()
			}
		}
	}
}

// change replaces the object, and tells the watchers.
func (a *apiServer) change(kind, object string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.watches {
		w <- fmt.Sprintf(`{"type":%q,"object":%s}`, kind, object)
	}
	if a.object = object; kind == "DELETED" {
		a.object = ""
	}
}

// watched waits until somebody watches.
func (a *apiServer) watched(t *testing.T) {
	t.Helper()
	testlan.Await(t, "the watch", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.watches) == 1 })
}

// account writes what a pod has of its service account into a folder.
func (a *apiServer) account(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "token"), []byte("secret\n"), 0o600), os.WriteFile(filepath.Join(dir, "ca.crt"), ca, 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// pod is the environment of a pod whose API server is behind proxy.
var pod = []string{"KUBERNETES_SERVICE_HOST=127.0.0.1", "KUBERNETES_SERVICE_PORT=6443"}

// proxy carries 127.0.0.1:6443 of the peer to a port here.
func proxy(t *testing.T, l lan, port uint16) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l.Start("env", fmt.Sprintf("%s=192.0.2.10:%d", proxyEnv, port), exe)
	testlan.Await(t, "the proxy", func() bool {
		return strings.Contains(l.Run("ss", "-ltn"), ":6443")
	})
}

const proxyEnv = "LATCHKEY_TEST_PROXY_TO"

func init() {
	to := os.Getenv(proxyEnv)
	if to == "" {
		return
	}

	listener, err := net.Listen("tcp", "127.0.0.1:6443")
	if err != nil {
		panic(err)
	}

	for {
		in, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer in.Close()
			out, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer out.Close()
			go io.Copy(out, in)
			io.Copy(in, out)
		}()
	}
}
