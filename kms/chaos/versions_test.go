package chaos_test

import (
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"latchkey/kms"
	"latchkey/kms/store/etcd/etcdtest"
)

// beforeEnv names the key server of the version before.
const beforeEnv = "LATCHKEY_BEFORE"

func before(t *testing.T) string {
	t.Helper()
	path := os.Getenv(beforeEnv)
	if path == "" {
		t.Skipf("without the history of this repository: %s=$(images/latchkey-before)", beforeEnv)
	}
	return path
}

// H7, docs/upgrade.md: while servers are renewed one after the other, the
// version before and this one run on one store. Each serves what the other
// was told, both find the store whole, and one can go back, until store
// upgrade; then the one before stops, and says why.
func TestTwoVersions(t *testing.T) {
	older := before(t)
	db := etcdtest.Start(t)
	programs := []string{older, built(t)}
	c := newClusterOf(t, programs, func() ([]string, []*wire) {
		return []string{"--store", "etcd:" + db.URL + "/kms", "--store-ca", db.CA, "--store-cert", db.Cert, "--store-key", db.Key}, nil
	})
	old, renewed := c.servers[0], c.servers[1]
	for _, s := range c.servers {
		if err := patiently(func() error { return s.operate("GET", "/v1/check", nil, nil, nil) }); err != nil {
			t.Fatalf("%v\n%s", err, s.says())
		}
	}

	for i, pair := range [][2]*server{{old, renewed}, {renewed, old}} {
		told, asked := pair[0], pair[1]
		s := c.known(i, told)
		first := s.must(asked)
		s.tell(told, "/v1/volume/rotate")
		s.awaits(asked, func(g kms.Granted) bool { return g.Staged.Secret.Len() > 0 })
		s.opened(asked)
		s.awaits(told, func(g kms.Granted) bool { return g.Staged.Secret.Len() == 0 })
		if next := s.must(told); next == first {
			t.Errorf("machine %d has the secret of before after a rotation", i)
		}
		s.tell(told, "/v1/node/quarantine")
		s.awaitsCode(asked, kms.Quarantined.Code())
		s.tell(asked, "/v1/node/readmit")
		s.awaits(told, func(g kms.Granted) bool { return g.Active.Secret.Len() > 0 })
		s.tell(told, "/v1/volume/delete")
		s.awaitsNone(asked)
	}
	for _, s := range c.servers {
		if err := s.operate("GET", "/v1/check", nil, nil, nil); err != nil {
			t.Errorf("checking the store: %v\n%s", err, s.says())
		}
	}

	var up struct{ From, To int }
	if err := renewed.operate("POST", "/v1/store/upgrade", nil, nil, &up); err != nil {
		t.Fatal(err)
	}
	if up.From == up.To {
		return // nothing was added to the format since
	}
	old.end()
	out, err := exec.Command(older, append([]string{"store", "check", "--data", old.data}, old.store...)...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "newer version") || strings.Count(string(out), "\n") != 1 {
		t.Errorf("the version before on an upgraded store: %v, %s; want one line that it is of a newer version", err, out)
	}
	c.known(2, renewed).must(renewed)
}

// known is a machine that is told to one server.
func (c *cluster) known(n int, on *server) *subject {
	c.t.Helper()
	one := &cluster{t: c.t, servers: []*server{on}, pins: c.pins}
	s, err := one.enroll(n)
	if err != nil {
		c.t.Fatalf("%v\n%s", err, on.says())
	}
	return s
}

// from asks one server.
func (s *subject) from(on *server) (*kms.Grant, string, error) {
	s.c = &cluster{t: s.c.t, servers: []*server{on}, pins: s.c.pins}
	return s.get()
}

// must is the secret that a machine gets.
func (s *subject) must(on *server) (secret string) {
	s.c.t.Helper()
	s.awaits(on, func(g kms.Granted) bool {
		secret = shown(g.Active.Secret)
		return secret != ""
	})
	return secret
}

func (s *subject) tell(on *server, path string) {
	s.c.t.Helper()
	if err := on.operate("POST", path, url.Values{"who": {s.id}, "uuid": {s.uuid.String()}}, nil, nil); err != nil {
		s.c.t.Fatalf("%s: %v\n%s", path, err, on.says())
	}
}

// within is how soon one server knows what another one was told.
const within = 20 * time.Second

func (s *subject) awaits(on *server, want func(kms.Granted) bool) {
	s.c.t.Helper()
	var last error
	for end := time.Now().Add(within); time.Now().Before(end); {
		g, _, err := s.from(on)
		if last = err; err == nil && g.Volumes[0].Status == kms.OK && want(g.Volumes[0]) {
			return
		}
	}
	s.c.t.Fatalf("the machine does not get what it should: %v\n%s", last, on.says())
}

func (s *subject) awaitsCode(on *server, want string) {
	s.c.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); {
		if _, _, err := s.from(on); codeOf(err) == want {
			return
		}
	}
	s.c.t.Fatalf("the machine is not refused as %s\n%s", want, on.says())
}

// awaitsNone: the machine gets nothing of its volume.
func (s *subject) awaitsNone(on *server) {
	s.c.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); {
		if g, _, err := s.from(on); err == nil && g.Volumes[0].Status != kms.OK {
			return
		}
	}
	s.c.t.Fatalf("the machine gets a volume that was deleted\n%s", on.says())
}

// opened reports to a server that its staged secret opens the volume.
func (s *subject) opened(on *server) {
	s.c.t.Helper()
	g, at, err := s.from(on)
	if err == nil {
		client := &kms.Client{Pins: s.c.pins}
		err = client.Report(s.c.t.Context(), at, g, []kms.Result{{UUID: s.uuid, Outcome: kms.OpenedStaged, SeqID: seqID, MAC: make([]byte, 32)}})
	}
	if err != nil {
		s.c.t.Fatal(err)
	}
}
