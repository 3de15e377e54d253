package chaos_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/store/etcd/etcdtest"
	"latchkey/kms/store/kube/kubetest"
)

// histories is how many are checked on each store. LATCHKEY_HISTORIES says
// another number: make chaos.
const histories = 66

// lanes is how many machines are busy at once.
const lanes = 8

// D10, D12, rule 10: what machines and operators see at servers that die, stop
// and lose their store is as if all had happened one after the other, and
// every secret that was given is in the audit log, once.
func TestChaos(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for disks that are full")
	}
	t.Run("bolt", func(t *testing.T) { chaos(t, onBolt(t), []fault{killed, paused, full, rekeyed}) })
	t.Run("etcd", func(t *testing.T) {
		c, leads := onEtcd(t)
		chaos(t, c, []fault{killed, paused, full, cut, silent, leads, rekeyed})
	})
	t.Run("kube", func(t *testing.T) { chaos(t, onKube(t), []fault{killed, paused, full, cut, silent, rekeyed}) })
}

func chaos(t *testing.T, c *cluster, faults []fault) {
	n := histories
	if text := os.Getenv("LATCHKEY_HISTORIES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	troubled := make(chan map[string]int, 1)
	go func() { troubled <- c.trouble(ctx, faults) }()

	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	var group sync.WaitGroup
	var mu sync.Mutex
	var all []*subject
	for range lanes {
		group.Go(func() {
			for i := range next {
				s, err := c.enroll(i)
				if err != nil {
					t.Errorf("%v; the first server says:\n%s", err, c.servers[0].says())
					return
				}
				s.live()
				if !s.events.possible() {
					t.Errorf("machine %s: this cannot have happened one after the other:\n%s", s.id, s.describe())
				}
				mu.Lock()
				all = append(all, s)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	cancel()
	t.Logf("%d histories, servers %v", len(all), <-troubled)
	c.verify(all)
}

// verify: when all is well again, the log has every release, and once; and
// each server finds the store whole.
func (c *cluster) verify(all []*subject) {
	c.t.Helper()
	for _, s := range c.servers {
		var checked ledger.Checked
		if err := patiently(func() error { return s.operate("GET", "/v1/check", nil, nil, &checked) }); err != nil {
			c.t.Errorf("checking the store: %v\n%s", err, s.says())
		}
	}
	logged, given := map[string]int{}, map[string]bool{}
	for from := uint64(1); ; {
		var page []ledger.Event
		err := patiently(func() error {
			return c.servers[0].operate("GET", "/v1/audit", url.Values{"from": {strconv.FormatUint(from, 10)}}, nil, &page)
		})
		if err != nil {
			c.t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			from = max(from, e.Seq+1)
			if e.Event != "get" || e.Status != kms.OK.Code() && e.Status != "ok" {
				continue
			}
			logged[e.Node]++
			if given[e.TH2] {
				c.t.Errorf("challenge %s was redeemed twice", e.TH2)
			}
			given[e.TH2] = true
		}
	}
	for _, s := range all {
		granted := 0
		for _, e := range s.events {
			if e.Input.(input).deed == ask && e.Output.(output).outcome == done {
				granted++
			}
		}
		if logged[s.id] < granted {
			c.t.Errorf("machine %s was given its secrets %d times, and the audit log has %d", s.id, granted, logged[s.id])
		}
	}
}

// patiently tries until it works, for half a minute.
func patiently(f func() error) (err error) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = f(); err == nil || errors.Is(err, errRefused) {
			return err
		}
	}
	return err
}

// newCluster makes servers that run until the test ends, on disks of their
// own.
func newCluster(t *testing.T, n int, store func() (flags []string, w []*wire)) *cluster {
	t.Helper()
	return newClusterOf(t, slices.Repeat([]string{built(t)}, n), store)
}

// newClusterOf makes one server of each program.
func newClusterOf(t *testing.T, programs []string, store func() (flags []string, w []*wire)) *cluster {
	t.Helper()
	c := &cluster{t: t}
	for i, path := range programs {
		s := &server{t: t, program: path, data: disk(t)}
		s.store, s.wires = store()
		init := append([]string{"init", "--data", s.data}, s.store...)
		if i > 0 {
			key, err := os.ReadFile(filepath.Join(c.servers[0].data, "wrapping.key"))
			if err == nil {
				err = os.WriteFile(filepath.Join(s.data, "wrapping.key"), key, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			init = append(init, "--join")
		}
		s.command(init...)
		c.servers = append(c.servers, s)
	}
	var trust struct {
		KMS []string `json:"kms"`
	}
	if err := json.Unmarshal(c.servers[0].command(append([]string{"trust", "--json", "--data", c.servers[0].data}, c.servers[0].store...)...), &trust); err != nil {
		t.Fatal(err)
	}
	for _, text := range trust.KMS {
		pin, err := kms.ParsePin(text)
		if err != nil {
			t.Fatal(err)
		}
		c.pins = append(c.pins, pin)
	}
	for _, s := range c.servers {
		s.run()
		t.Cleanup(s.end)
	}
	return c
}

// built is this version's program.
func built(t *testing.T) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *server) command(args ...string) []byte {
	s.t.Helper()
	out, err := exec.Command(s.program, args...).Output()
	if err != nil {
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			out = e.Stderr
		}
		s.t.Fatalf("latchkey-kms %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// disk is a small file system.
func disk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size=96m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func onBolt(t *testing.T) *cluster {
	return newCluster(t, 1, func() ([]string, []*wire) { return nil, nil })
}

func onEtcd(t *testing.T) (*cluster, fault) {
	db := etcdtest.Cluster(t, 3)
	return newCluster(t, 3, func() (flags []string, all []*wire) {
		var at []string
		for _, member := range db {
			w := newWire(t, strings.TrimPrefix(member.URL, "https://"))
			all, at = append(all, w), append(at, w.address())
		}
		return []string{"--store", "etcd:https://" + strings.Join(at, ",") + "/kms", "--store-ca", db[0].CA, "--store-cert", db[0].Cert, "--store-key", db[0].Key}, all
	}), moved(t, db)
}

func onKube(t *testing.T) *cluster {
	api := kubetest.Start(t)
	api.Namespace(t, "keys")
	return newCluster(t, 3, func() ([]string, []*wire) {
		w := newWire(t, strings.TrimPrefix(api.URL, "https://"))
		query := url.Values{"server": {"https://" + w.address()}, "ca": {api.CA}, "token": {api.Token(kubetest.Admin)}}
		return []string{"--store", "kube:keys?" + query.Encode()}, []*wire{w}
	})
}
