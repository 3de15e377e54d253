package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"latchkey/internal/testlan"
)

// The address of a Kubernetes Service, through a watch.
func TestKubernetes(t *testing.T) {
	l := newLAN(t, byName)
	events := make(chan string, 4)
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" || r.URL.Path != "/api/v1/namespaces/keys/services" || r.URL.Query().Get("fieldSelector") != "metadata.name=kms" {
			http.Error(w, r.URL.String(), http.StatusForbidden)
			return
		}
		for {
			select {
			case <-r.Context().Done():
				return
			case e := <-events:
				io.WriteString(w, e+"\n")
				w.(http.Flusher).Flush()
			}
		}
	}))

	listener, err := net.Listen("tcp", "192.0.2.10:0")
	if err != nil {
		t.Fatal(err)
	}

	api.Listener = listener
	api.StartTLS()
	defer api.Close()
	defer api.CloseClientConnections()
	account := t.TempDir()
	os.WriteFile(account+"/token", []byte("secret\n"), 0o600)
	os.WriteFile(account+"/ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}), 0o600)
	port := netip.MustParseAddrPort(listener.Addr().String()).Port()
	service := func(kind, ip string) string {
		return fmt.Sprintf(`{"type":%q,"object":{"spec":{"ports":[{"name":"admin","port":1},{"name":"lk1","port":8443}]},"status":{"loadBalancer":{"ingress":[{"hostname":"x"},{"ip":%q}]}}}}`, kind, ip)
	}

	events <- service("ADDED", "192.0.2.5")
	// The test server's certificate is for 127.0.0.1 and example.com.
	proxy(t, l, port)
	l.Start("env", responder(t, []string{"KUBERNETES_SERVICE_HOST=127.0.0.1", "KUBERNETES_SERVICE_PORT=6443"}, "--kubernetes-service", "keys/kms:lk1",
		"--kubernetes-account", account, "--check", "off", "--verbose")...)
	if got := l.find(10 * time.Second); got != "192.0.2.5:8443" {
		t.Errorf("found %s, want 192.0.2.5:8443", got)
	}

	events <- service("MODIFIED", "192.0.2.6")
	testlan.Await(t, "the new address", func() bool { return l.find(50*time.Millisecond) == "192.0.2.6:8443" })
	events <- service("DELETED", "192.0.2.6")
	testlan.Await(t, "the end", func() bool { return l.find(50*time.Millisecond) == "none" })
}

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
