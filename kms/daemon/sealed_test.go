package daemon

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/kms/home"
	"latchkey/kms/operator"
)

const everyProtocol = `
listen: {address: "127.0.0.1:0", protocols: [lk1, kairos, tang]}
talos: {address: "127.0.0.1:0"}
k8s: {socket: DIR/k8s.sock}
metrics: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0", tls: {certificate: DIR/tls.pem, key: DIR/tls.key}}
`

// While the wrapping key is away every protocol is told to come back, and
// monitoring and operators why. When it comes, the same sockets serve.
func TestSealed(t *testing.T) {
	dir := t.TempDir()
	tlsPair := pair(t, dir, 30)
	s := newSealable(t, "echo no route to host >&2; exit 1", strings.NewReplacer("DIR/tls.pem", tlsPair.Cert, "DIR/tls.key", tlsPair.Key).Replace(everyProtocol))
	s.run()
	metrics := s.address("sealed, listening for metrics on ")
	machines := s.address("sealed, listening on ")
	talos := s.address("sealed, listening for Talos on ")
	admin := s.address("sealed, listening for administration on ")

	busy, ok := errors.AsType[*kms.Error](s.ask(machines))
	if !ok || busy.Code() != kms.CodeBusy || busy.RetryAfter < 3*time.Second {
		t.Errorf("lk1: %v, want %s after seconds", busy, kms.CodeBusy)
	}
	for _, url := range []string{"http://" + machines + "/adv", "http://" + machines + "/tpm-attestation", "https://" + admin + "/v1/node/list"} {
		if code, after, body := s.get(url); code != http.StatusServiceUnavailable || after == "" || strings.Contains(body, "no route") {
			t.Errorf("%s: %d, Retry-After %q, %q, want 503 and no reason", url, code, after, body)
		}
	}
	if code, _, body := s.get("http://" + metrics + "/readyz"); code != http.StatusServiceUnavailable || !strings.HasPrefix(body, "sealed: ") || !strings.Contains(body, "no route to host") {
		t.Errorf("readyz: %d %q, want 503 and why", code, body)
	}
	if code, _, _ := s.get("http://" + metrics + "/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d, want 200", code)
	}
	if _, _, body := s.get("http://" + metrics + "/metrics"); !strings.Contains(body, "\nlatchkey_sealed 1\n") {
		t.Errorf("metrics: %s, want latchkey_sealed 1", body)
	}
	if c := s.call(talos, "/sidero.kms.KMSService/Unseal"); c != codes.Unavailable {
		t.Errorf("Talos: %v, want Unavailable", c)
	}
	if c := s.call("unix:"+s.dir+"/k8s.sock", "/v2.KeyManagementService/Status"); c != codes.Unavailable {
		t.Errorf("Kubernetes: %v, want Unavailable", c)
	}
	asked, err := operator.Local(t.Context(), s.d.Home)
	if err == nil {
		err = asked.Call(t.Context(), "GET", "/v1/node/list", nil, nil, io.Discard)
	}
	if err == nil || !strings.Contains(err.Error(), "sealed: ") || !strings.Contains(err.Error(), "no route to host") {
		t.Errorf("the operator is told %v", err)
	}
	if _, err := s.d.Home.ChangeWrapping(t.Context(), home.WrappingChange{}); err == nil || !strings.Contains(err.Error(), "the server is running") {
		t.Errorf("changing the key of a sealed server: %v", err)
	}

	s.opens(metrics, machines, talos)
}

// opens lets the key come, and asks all the time until machines are served.
func (s *sealable) opens(metrics, machines, talos string) {
	s.t.Helper()
	served := make(chan struct{})
	refused := make(chan error, 1)
	go func() {
		defer close(refused)
		for {
			conn, err := net.Dial("tcp", machines)
			if err != nil {
				refused <- err
				return
			}
			conn.Close()
			select {
			case <-served:
				return
			default:
			}
		}
	}()
	s.write("open", "")
	again := s.address("listening for metrics on ")
	same := s.address("listening on ")
	s.address("listening for Talos on ")
	close(served)
	if err := <-refused; err != nil {
		s.t.Errorf("a machine was refused meanwhile: %v", err)
	}
	if again != metrics || same != machines {
		s.t.Errorf("it listens on %s and %s, want %s and %s as before", again, same, metrics, machines)
	}

	if e, ok := errors.AsType[*kms.Error](s.ask(machines)); !ok || e.Code() != "pending" {
		s.t.Errorf("lk1: %v, want that it is pending", e)
	}
	if code, _, body := s.get("http://" + metrics + "/readyz"); code != http.StatusOK {
		s.t.Errorf("readyz: %d %s, want 200", code, body)
	}
	if _, _, body := s.get("http://" + metrics + "/metrics"); !strings.Contains(body, "\nlatchkey_sealed 0\n") {
		s.t.Error("metrics lack latchkey_sealed 0")
	}
	if c := s.call("unix:"+s.dir+"/k8s.sock", "/v2.KeyManagementService/Status"); c != codes.OK {
		s.t.Errorf("Kubernetes: %v, want OK", c)
	}
	if c := s.call(talos, "/sidero.kms.KMSService/Unseal"); c == codes.Unavailable || c == codes.Unimplemented {
		s.t.Errorf("Talos: %v, want a decision", c)
	}
}

// A sealed server is ready for systemd, so that its start has an end, and
// SIGTERM ends it.
func TestSealedIsReady(t *testing.T) {
	s := newSealable(t, "echo no route to host >&2; exit 1", `listen: {address: "127.0.0.1:0"}`)
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(s.dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	t.Setenv("NOTIFY_SOCKET", told.LocalAddr().String())
	s.run()
	s.address("sealed, listening on ")
	told.SetReadDeadline(time.Now().Add(time.Minute))
	text := make([]byte, 4096)
	n, err := told.Read(text)
	if got := string(text[:n]); err != nil || !strings.HasPrefix(got, "READY=1\nSTATUS=sealed: ") || strings.Count(got, "\n") != 1 {
		t.Errorf("systemd is told %q, %v", got, err)
	}
}

// What a person must correct ends the server with the code after which it
// is not started again, and is tried once: tokens lock themselves.
func TestSealedIsNotForRefusals(t *testing.T) {
	s := newSealable(t, "exit 77", `listen: {address: "127.0.0.1:0"}`)
	s.write("unwrap", "#!/bin/sh\necho x >>"+s.dir+"/tries; echo wrong PIN >&2; exit 77\n")
	s.d.Out = io.Discard
	err := s.d.Run(t.Context())
	if exit, ok := errors.AsType[*cli.Exit](err); !ok || exit.Code != cli.Usage || !strings.Contains(err.Error(), "wrong PIN") {
		t.Errorf("Run = %v, want exit code %d", err, cli.Usage)
	}
	if tries, _ := os.ReadFile(filepath.Join(s.dir, "tries")); string(tries) != "x\n" {
		t.Errorf("it was tried %d times, want once", len(tries)/2)
	}
}
