// Package kubetest runs a real kube-apiserver for tests, on a real etcd.
package kubetest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/internal/kube"
	"latchkey/kms/store/etcd/etcdtest"
)

// Binary is the environment variable that names kube-apiserver, which
// images/kube-apiserver builds; "-" is none, on purpose.
const Binary = "LATCHKEY_KUBE_APISERVER"

// Users of the API server: the administrator of all, and the service account
// of the key server, which may do what it is given.
const (
	Admin   = "admin"
	Account = "system:serviceaccount:keys:latchkey-kms"
	Kairos  = "system:serviceaccount:kairos:operator"
)

// A Server is one API server on loopback.
type Server struct {
	URL, CA string // CA is a file
	dir     string
	etcd    *etcdtest.Server
	child   *exec.Cmd
	log     bytes.Buffer
}

// Start runs an API server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	if os.Getenv(Binary) == "-" {
		t.Skip("without a kube-apiserver, on purpose")
	}
	if os.Getenv(Binary) == "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s names no kube-apiserver: images/kube-apiserver builds one", Binary)
		}
		t.Skipf("needs a kube-apiserver in %s: make test KUBE=1 builds one", Binary)
	}

	etcd := etcdtest.Start(t)
	s := &Server{dir: t.TempDir(), CA: etcd.CA, etcd: etcd}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	s.URL = "https://" + l.Addr().String()
	l.Close()
	s.files(t)
	s.Run(t)
	t.Cleanup(s.Kill)
	return s
}

// files are the tokens and the key of service accounts' tokens.
func (s *Server) files(t testing.TB) {
	t.Helper()
	tokens := ""
	for i, user := range []string{Admin, Account, Kairos} {
		group := "system:serviceaccounts"
		if user == Admin {
			group = "system:masters"
		}
		tokens += "token-" + user + "," + user + "," + string(rune('1'+i)) + "," + group + "\n"
		s.write(t, "token-"+user, "token-"+user)
	}

	s.write(t, "tokens.csv", tokens)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}

	s.write(t, "account.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
}

func (s *Server) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(s.dir+"/"+name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Run starts it, again after Kill, and waits until it answers.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "https://"), ":")
	s.log.Reset()
	s.child = exec.Command(os.Getenv(Binary),
		"--etcd-servers="+s.etcd.URL, "--etcd-cafile="+s.etcd.CA, "--etcd-certfile="+s.etcd.Cert, "--etcd-keyfile="+s.etcd.Key,
		// Without an address to advertise it looks for a default route,
		// which a clean room does not have.
		"--advertise-address=192.0.2.1", "--bind-address=127.0.0.1", "--secure-port="+port, "--cert-dir="+s.dir+"/certs", "--tls-cert-file="+s.etcd.ServerCert, "--tls-private-key-file="+s.etcd.ServerKey,
		"--token-auth-file="+s.dir+"/tokens.csv", "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+s.dir+"/account.key", "--service-account-signing-key-file="+s.dir+"/account.key",
		"--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none", "-v=0")

	s.child.Stderr, s.child.Stdout = &s.log, &s.log
	s.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.child.Start(); err != nil {
		t.Fatal(err)
	}

	admin := s.Client(t, Admin)
	defer admin.Close()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := admin.Do(ctx, http.MethodGet, "/readyz", nil, nil, nil)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.Kill()
			t.Fatalf("kube-apiserver does not answer: %v\n%s", err, s.log.String())
		}
	}
}

// Kill ends it, before etcd does.
func (s *Server) Kill() {
	s.child.Process.Kill()
	s.child.Wait()
}

// Token is the file of a user's token.
func (s *Server) Token(user string) string { return s.dir + "/token-" + user }

// Client asks it as a user.
func (s *Server) Client(t testing.TB, user string) *kube.Client {
	t.Helper()
	c, err := kube.New(kube.Config{Server: s.URL, CA: s.CA, Token: s.Token(user)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Namespace makes one.
func (s *Server) Namespace(t testing.TB, name string) {
	t.Helper()
	admin := s.Client(t, Admin)
	defer admin.Close()
	err := admin.Do(context.Background(), http.MethodPost, "/api/v1/namespaces", nil, map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]string{"name": name},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}
