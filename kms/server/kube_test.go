//go:build !race

// The race stage leaves this out: it is half a minute of another program's
// timers, and all of our own code in it runs in other tests.
package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	k8skeeper "latchkey/kms/server/k8s/keeper"

	"google.golang.org/grpc"

	"latchkey/internal/testkube"
	"latchkey/kms/server"
	"latchkey/kms/store/etcd/etcdtest"
)

// A cluster is a real API server whose Secrets our key encrypts.
type cluster struct {
	*fixture
	*testkube.Server
	etcd   *etcdtest.Server
	socket string
	plugin *grpc.Server
}

const encryption = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - kms: {apiVersion: v2, name: latchkey, endpoint: "unix://%s", timeout: 3s}
      - identity: {}
`

func newCluster(t *testing.T) *cluster {
	testkube.Need(t)
	etcd := etcdtest.Start(t)
	c := &cluster{fixture: newKMS(t), etcd: etcd, socket: filepath.Join(t.TempDir(), "kms.sock")}
	c.plugIn()
	config := filepath.Join(t.TempDir(), "encryption.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, encryption, c.socket), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Server = testkube.Start(t, testkube.Etcd{URL: etcd.URL, CA: etcd.CA, Cert: etcd.Cert, Key: etcd.Key}, "", "--encryption-provider-config="+config)
	return c
}

// plugIn serves the plugin; unplug ends it as a stopped KMS would.
func (c *cluster) plugIn() {
	c.t.Helper()
	g, err := server.NewK8s(context.Background(), c.fixture.Server, "kubernetes", false)
	if err != nil {
		c.t.Fatal(err)
	}
	l, err := net.Listen("unix", c.socket)
	if err != nil {
		c.t.Fatal(err)
	}
	go g.Serve(l)
	c.plugin = g
	c.t.Cleanup(g.Stop)
}

const secrets = "/api/v1/namespaces/default/secrets"

func (c *cluster) put(name, value string) {
	c.t.Helper()
	c.Must(c.t, "POST", secrets, map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]string{"name": name}, "stringData": map[string]string{"key": value},
	}, nil)
}

func (c *cluster) want(name, value string) {
	c.t.Helper()
	var s struct{ Data map[string]string }
	c.Must(c.t, "GET", secrets+"/"+name, nil, &s)
	if got, _ := base64.StdEncoding.DecodeString(s.Data["key"]); string(got) != value {
		c.t.Errorf("Secret %s is %q, want %q", name, got, value)
	}
}

// stored is what etcd has of a Secret.
func (c *cluster) stored(name string) []byte {
	c.t.Helper()
	client := c.etcd.Client(c.t)
	defer client.Close()
	r, err := client.Get(context.Background(), "/registry/secrets/default/"+name)
	if err != nil || len(r.Kvs) != 1 {
		c.t.Fatalf("etcd has %v of Secret %s: %v", r, name, err)
	}
	return r.Kvs[0].Value
}

// calls counts the plugin's calls, by the audit log.
func (c *cluster) calls() string {
	return fmt.Sprintf("%d encrypted, %d decrypted", c.events("k8s encrypt"), c.events("k8s decrypt"))
}

// healthy waits until the API server finds its KMS well.
func (c *cluster) healthy() {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		status, body, err := c.Do(testkube.Admin, "GET", "/readyz/kms-providers", nil, nil)
		if err == nil && status == 200 {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("the API server says of its KMS: %d %s %v, want 200", status, body, err)
		}
	}
}

// A real API server: its Secrets are sealed in etcd, thirty cost no call
// more than one; it notices a rotation, reads what is old, and says when
// its KMS is gone.
func TestRealAPIServer(t *testing.T) {
	c := newCluster(t)
	c.put("first", canary)
	before := c.calls()
	for i := range 30 {
		c.put(fmt.Sprintf("s%d", i), canary)
	}

	if after := c.calls(); after != before || !strings.HasPrefix(before, "1 encrypted") {
		t.Errorf("the plugin's calls: %s, and %s after 30 Secrets more, want 1 encryption and no call more", before, after)
	}
	raw := c.stored("s29")
	if !bytes.HasPrefix(raw, []byte("k8s:enc:kms:v2:latchkey:")) || bytes.Contains(raw, []byte(canary)) {
		t.Errorf("etcd has %q, want it sealed", raw)
	}

	if _, err := c.RotateKey(context.Background(), k8skeeper.RingName("kubernetes")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(90 * time.Second); c.events("k8s encrypt") < 2; time.Sleep(200 * time.Millisecond) {
		c.Do(testkube.Admin, "GET", "/readyz/kms-providers", nil, nil) // whoever asks makes it look
		if time.Now().After(end) {
			t.Fatal("the API server did not notice the rotation")
		}
	}

	c.put("after", canary)
	if raw := c.stored("after"); !bytes.Contains(raw, []byte(":kubernetes:2")) {
		t.Errorf("etcd has %q, want it sealed with version 2", raw)
	}
	c.want("first", canary)

	c.plugin.Stop()
	c.Server.Stop()
	c.plugIn()
	c.Server.Run(t) // cold: old and new seeds are decrypted again
	c.want("first", canary)
	c.want("after", canary)

	c.plugin.Stop()
	c.Server.Stop()
	if err := c.Begin(); err != nil { // no KMS: not ready, and nothing else than the truth
		t.Fatal(err)
	}

	c.unreadable("first")
	c.plugIn()
	c.healthy()
	c.want("first", canary)
}

// unreadable waits for the API server's answer, which must be an error.
func (c *cluster) unreadable(name string) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		status, body, err := c.Do(testkube.Admin, "GET", secrets+"/"+name, nil, nil)
		switch {
		case err == nil && status == 200:
			c.t.Fatalf("a Secret was read without the KMS: %s", body)
		case err == nil && status >= 500:
			return
		case time.Now().After(end):
			c.t.Fatalf("reading a Secret without the KMS: %d %s %v", status, body, err)
		}
	}
}
