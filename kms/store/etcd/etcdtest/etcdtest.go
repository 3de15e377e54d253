// Package etcdtest runs Debian's etcd for tests, with TLS and client
// certificates.
package etcdtest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A Server is one etcd on loopback.
type Server struct {
	URL                   string
	CA, Cert, Key         string // files: what a client needs
	serverCert, serverKey string // files
	dir, name, peer       string
	cluster               string // names and peers of all members
	flags                 []string
	child                 *exec.Cmd
	log                   bytes.Buffer
}

// Start runs an etcd until the test ends.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	return Cluster(t, 1, flags...)[0]
}

// Cluster runs so many members of one etcd.
func Cluster(t testing.TB, n int, flags ...string) (members []*Server) {
	t.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs etcd: PATH=$(images/etcd):$PATH")
		}
		t.Skip("needs etcd: PATH=$(images/etcd):$PATH")
	}

	certs, all := t.TempDir(), []string{}
	for i := range n {
		s := &Server{
			dir: t.TempDir(), name: fmt.Sprint("member", i), URL: "https://" + freePort(t), peer: "http://" + freePort(t), flags: flags,
			CA: certs + "/ca.pem", Cert: certs + "/client.pem", Key: certs + "/client.key",
			serverCert: certs + "/server.pem", serverKey: certs + "/server.key",
		}
		members, all = append(members, s), append(all, s.name+"="+s.peer)
	}

	if err := certificates(certs); err != nil {
		t.Fatal(err)
	}
	for _, s := range members {
		s.cluster = strings.Join(all, ",")
		s.launch(t)
		t.Cleanup(s.Kill)
	}

	for _, s := range members {
		s.await(t)
	}
	return members
}

func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Run starts it, again after Kill, and waits until it answers.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	s.launch(t)
	s.await(t)
}

func (s *Server) launch(t testing.TB) {
	t.Helper()
	s.log.Reset()
	s.child = exec.Command("etcd", append([]string{
		"--data-dir", s.dir + "/data", "--name", s.name, "--listen-client-urls", s.URL, "--advertise-client-urls", s.URL,
		"--listen-peer-urls", s.peer, "--initial-advertise-peer-urls", s.peer, "--initial-cluster", s.cluster,
		"--cert-file", s.serverCert, "--key-file", s.serverKey,
		"--client-cert-auth", "--trusted-ca-file", s.CA, "--log-level", "error", "--logger", "zap",
	}, s.flags...)...)
	s.child.Stderr, s.child.Stdout = &s.log, &s.log
	s.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.child.Start(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) await(t testing.TB) {
	t.Helper()
	client := s.Client(t)
	defer client.Close()
	for end := time.Now().Add(20 * time.Second); ; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := client.Get(ctx, "ready")
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.Kill()
			t.Fatalf("etcd does not answer: %v\n%s", err, s.log.String())
		}
	}
}

// Kill ends it as a power cut would.
func (s *Server) Kill() {
	s.child.Process.Kill()
	s.child.Wait()
}

// Client asks it directly.
func (s *Server) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.URL}, TLS: s.TLS(t), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TLS is a client's side.
func (s *Server) TLS(t testing.TB) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(s.Cert, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(s.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}
}

// certificates makes an authority, a server's and a client's certificate.
func certificates(dir string) error {
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}

	if err := certificate(authority, authority, key, key, dir+"/ca"); err != nil {
		return err
	}
	for i, name := range []string{"server", "client"} {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(2 + i)), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
		}
		if err := certificate(c, authority, own, key, dir+"/"+name); err != nil {
			return err
		}
	}

	return nil
}

func certificate(c, by *x509.Certificate, key, signer *ecdsa.PrivateKey, path string) error {
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), signer)
	if err != nil {
		return err
	}

	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}

	for suffix, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path+suffix, pem.EncodeToMemory(block), 0o600); err != nil {
			return fmt.Errorf("writing a certificate: %w", err)
		}
	}

	return nil
}

// Forget removes all that it holds, while it is not running.
func (s *Server) Forget(t testing.TB) {
	t.Helper()
	if err := os.RemoveAll(s.dir + "/data"); err != nil {
		t.Fatal(err)
	}
}
