// Package testkube runs a real kube-apiserver for tests, on a real etcd.
package testkube

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Admin is the token of one who may do everything.
const Admin = "admin-token"

// readyTime is how long a start may take on a busy machine.
const readyTime = 2 * time.Minute

// Etcd is where the server keeps its state: files are for TLS.
type Etcd struct{ URL, CA, Cert, Key string }

// A Server is one kube-apiserver on loopback.
type Server struct {
	URL    string
	CA     string // file: what its certificate is checked with
	Client *http.Client
	binary string
	dir    string
	flags  []string
	child  *exec.Cmd
	log    *os.File
}

// Start runs a server until the test ends. Tokens are lines of the token
// file beside Admin's: token,user,uid,"groups".
func Start(t testing.TB, on Etcd, tokens string, flags ...string) *Server {
	t.Helper()
	s := &Server{binary: Need(t), dir: t.TempDir()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	s.URL, s.CA = "https://127.0.0.1:"+port, s.path("server.pem")
	s.write(t, "tokens.csv", []byte(Admin+`,admin,1,"system:masters"`+"\n"+tokens))
	s.certificate(t)

	s.flags = append([]string{
		// Without an address to advertise it looks for a default route,
		// which a clean room does not have.
		"--advertise-address=192.0.2.1", "--bind-address=127.0.0.1", "--secure-port=" + port, "--tls-cert-file=" + s.CA, "--tls-private-key-file=" + s.path("server.key"),
		"--etcd-servers=" + on.URL, "--etcd-cafile=" + on.CA, "--etcd-certfile=" + on.Cert, "--etcd-keyfile=" + on.Key,
		"--token-auth-file=" + s.path("tokens.csv"), "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + s.path("server.key"),
		"--service-account-signing-key-file=" + s.path("server.key"), "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none",
	}, flags...)

	s.Run(t)
	t.Cleanup(s.Stop)
	return s
}

// Binary is the environment variable that names kube-apiserver; "-" is none,
// on purpose. Without it the recipe is asked for one that was built before.
const Binary = "LATCHKEY_KUBE_APISERVER"

// Need skips a test that cannot have a server, and returns its program. In
// CI it fails there.
func Need(t testing.TB) string {
	t.Helper()
	switch path := os.Getenv(Binary); path {
	case "-":
		t.Skip("without a kube-apiserver, on purpose")
	case "":
	default:
		return path
	}

	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	top := filepath.Dir(strings.TrimSpace(string(mod)))
	out, err := exec.Command("sh", filepath.Join(top, "images", "kube-apiserver"), "--cached").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimSpace(string(out))
	if path == "" && os.Getenv("CI") != "" {
		t.Fatal("there is no kube-apiserver here; build it with images/kube-apiserver")
	}
	if path == "" {
		t.Skip("needs kube-apiserver, which is not built yet: make test KUBE=1 builds it, once")
	}
	return path
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) write(t testing.TB, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(s.path(name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) certificate(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	now := time.Now()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}

	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}

	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.write(t, "server.pem", authority)
	s.write(t, "server.key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	s.Client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, Timeout: 30 * time.Second}
}

// Run starts it, again after Stop, and waits until it is ready.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(readyTime); ; time.Sleep(100 * time.Millisecond) {
		if status, _, err := s.Do(Admin, "GET", "/readyz", nil, nil); err == nil && status == http.StatusOK {
			return
		}
		if time.Now().After(end) {
			s.Stop()
			t.Fatalf("kube-apiserver is not ready:\n%s", s.Log())
		}
	}
}

// Begin starts it and does not wait.
func (s *Server) Begin() (err error) {
	if s.log, err = os.Create(s.path("log")); err != nil {
		return err
	}
	s.child = exec.Command(s.binary, s.flags...)
	s.child.Stdout, s.child.Stderr, s.child.Dir = s.log, s.log, s.dir
	s.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return s.child.Start()
}

// Stop ends it. Stop it before its etcd: without one it takes a minute.
func (s *Server) Stop() {
	if s.child == nil {
		return
	}
	s.child.Process.Kill()
	s.child.Wait()
	s.child = nil
	s.log.Close()
}

// Log is the end of what it said.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.path("log"))
	return string(text[max(0, len(text)-4096):])
}

// Do asks it with a token; out, if any, gets the answer's JSON, unless the
// status is an error.
func (s *Server) Do(token, method, path string, in, out any) (status int, body string, err error) {
	var reader io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return 0, "", err
		}
		reader = bytes.NewReader(text)
	}

	r, err := http.NewRequestWithContext(context.Background(), method, s.URL+path, reader)
	if err != nil {
		return 0, "", err
	}

	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	reply, err := s.Client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err == nil && out != nil && reply.StatusCode < 300 {
		err = json.Unmarshal(text, out)
	}

	return reply.StatusCode, string(text), err
}

// Must is Do as Admin, for what cannot fail.
func (s *Server) Must(t testing.TB, method, path string, in, out any) {
	t.Helper()
	status, body, err := s.Do(Admin, method, path, in, out)
	if err != nil || status >= 300 {
		t.Fatal(fmt.Errorf("%s %s: %d %s %w", method, path, status, body, err))
	}
}
