// Package kubetest runs a real kube-apiserver with the users that a key
// server meets, for tests of what it keeps there.
package kubetest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"latchkey/internal/kube"
	"latchkey/internal/testkube"
	"latchkey/kms/store/etcd/etcdtest"
)

// Users of the API server: the administrator of all, and the service account
// of the key server, which may do what it is given.
const (
	Admin   = "admin"
	Account = "system:serviceaccount:keys:latchkey-kms"
	Kairos  = "system:serviceaccount:kairos:operator"
)

// A Server is one API server on loopback.
type Server struct {
	*testkube.Server
	dir string // of the tokens
}

// Start runs an API server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	testkube.Need(t)
	etcd := etcdtest.Start(t)
	s := &Server{dir: t.TempDir()}
	s.keep(t, Admin, testkube.Admin)

	var tokens string
	for i, user := range []string{Account, Kairos} {
		tokens += fmt.Sprintf("token-%s,%s,%d,system:serviceaccounts\n", user, user, 2+i)
		s.keep(t, user, "token-"+user)
	}
	s.Server = testkube.Start(t, testkube.Etcd{URL: etcd.URL, CA: etcd.CA, Cert: etcd.Cert, Key: etcd.Key}, tokens)
	return s
}

func (s *Server) keep(t testing.TB, user, token string) {
	t.Helper()
	if err := os.WriteFile(s.Token(user), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Token is the file of a user's token.
func (s *Server) Token(user string) string { return filepath.Join(s.dir, user) }

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
	s.Must(t, http.MethodPost, "/api/v1/namespaces", map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]string{"name": name},
	}, nil)
}
