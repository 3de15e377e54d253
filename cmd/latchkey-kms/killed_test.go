package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/operator"
	"latchkey/kms/softtpm"
	"latchkey/kms/store/etcd/etcdtest"
)

// Two servers on one etcd are killed, in turn, while machines ask them and
// an operator writes: what was acknowledged is there, a volume has one secret
// whoever put it, every grant that a machine saw is in the audit log, and the
// log and all records verify at both.
func TestReplicasAreKilled(t *testing.T) {
	k := newKilled(t)
	k.balanced()
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i := range 3 {
		group.Go(func() { k.machine(i, stop) })
	}

	group.Go(func() { k.operator(stop) })
	for round := range 4 {
		k.await(&k.grants, 40)
		k.await(&k.puts, 4)
		k.kill(round % 2)
		k.await(&k.grants, 10) // at the other one
		k.start(round % 2)
	}

	k.await(&k.grants, 20)
	close(stop)
	group.Wait()
	k.verify()
}

// killed is two servers, and what was acknowledged by them.
type killed struct {
	*testing.T
	etcd    *etcdtest.Server
	hosts   [2]home.Home
	urls    [2]atomic.Pointer[string]
	running [2]*exec.Cmd
	client  *kms.Client
	tpms    []*softtpm.TPM

	grants, puts atomic.Int64
	mu           sync.Mutex
	put          map[kms.UUID]string // acknowledged to the operator
	twice        []kms.UUID
	got          map[string]int // by node
}

func newKilled(t *testing.T) *killed {
	k := &killed{T: t, etcd: etcdtest.Start(t), put: map[kms.UUID]string{}, got: map[string]int{}}
	place, err := config.ParsePlace("etcd:"+k.etcd.URL, config.Place{CA: k.etcd.CA, Cert: k.etcd.Cert, Key: k.etcd.Key})
	k.must(err)
	dir := t.TempDir()
	for i := range k.hosts {
		k.hosts[i] = home.Home{Location: config.Location{
			Data: filepath.Join(dir, fmt.Sprint(i)), Place: place, Wrapping: config.Wrapping{Key: filepath.Join(dir, "wrapping.key")},
		}}
	}

	pin, err := k.hosts[0].Create(context.Background(), nil)
	k.must(err)
	_, _, err = k.hosts[1].Join(context.Background(), false)
	k.must(err)
	k.client = &kms.Client{Pins: []kms.Pin{pin}}
	k.start(0)
	k.start(1)
	t.Cleanup(func() {
		for i := range k.hosts {
			k.kill(i)
		}
	})

	for i := range 3 {
		tpm, err := softtpm.New()
		k.must(err)
		k.tpms = append(k.tpms, tpm)
		k.client.Get(context.Background(), *k.urls[i%2].Load(), tpm, []kms.Want{{UUID: uuidOf(i)}})
		var approved lk1.Approved
		k.must(callAt(context.Background(), k.hosts[0], "POST", "/v1/volume/put", url.Values{"uuid": {uuidOf(i).String()}}, []byte("secret of a machine"), new([]lk1.Volume)))
		k.must(callAt(context.Background(), k.hosts[1], "POST", "/v1/node/approve", nil, lk1.Approval{Who: tpm.NodeID().String(), Volumes: []kms.UUID{uuidOf(i)}}, &approved))
	}

	return k
}

func (k *killed) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

func (k *killed) start(i int) {
	k.Helper()
	c, address := serveAs(k, k.hosts[i])
	k.running[i] = c
	k.urls[i].Store(&address)
}

// serveWith runs this test's program as a server, until it listens.
func serveWith(o home.Home, flags ...string) (*exec.Cmd, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}

	args := append([]string{
		"serve", "--data", o.Data, "--wrapping-key", o.Wrapping.Key, "--listen", "127.0.0.1:0",
		"--store-ca", o.Place.CA, "--store-cert", o.Place.Cert, "--store-key", o.Place.Key,
	}, flags...)
	if !slices.Contains(flags, "--store") { // the place as text does not say how to get there
		args = append(args, "--store", o.Place.String())
	}
	c := exec.Command(self, args...)
	c.Args[0] = "latchkey-kms"
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log strings.Builder
	c.Stderr = &log
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, "", err
	}

	if err := c.Start(); err != nil {
		return nil, "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		c.Wait()
		return nil, "", fmt.Errorf("the server did not start: %s", log.String())
	}

	return c, "http://" + strings.TrimSpace(strings.TrimPrefix(line, "listening on ")), nil
}

// callAt asks a server, or opens its database, as the commands do.
func callAt(ctx context.Context, h home.Home, method, path string, query url.Values, body, to any) error {
	c, err := operator.Local(ctx, h)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Call(ctx, method, path, query, body, to)
}

func uuidOf(i int) (u kms.UUID) {
	binary.BigEndian.PutUint64(u[8:], uint64(i+1))
	return u
}

// balanced asks through a balancer that sends each request to the other
// server than the one before: one gives the challenge, the other the key.
func (k *killed) balanced() {
	k.Helper()
	var turn atomic.Int64
	balancer := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		to, _ := url.Parse(*k.urls[turn.Add(1)%2].Load())
		r.SetURL(to)
	}})
	defer balancer.Close()
	for range 10 {
		g, err := k.client.Get(context.Background(), balancer.URL, k.tpms[0], []kms.Want{{UUID: uuidOf(0)}})
		if err != nil || g.Volumes[0].Status != kms.OK {
			k.Fatalf("Get through a balancer = %v, %v", g, err)
		}
	}

	if turn.Load() != 20 {
		k.Errorf("10 exchanges took %d requests, want 20: one to each server", turn.Load())
	}
}

func (k *killed) kill(i int) {
	k.running[i].Process.Kill()
	k.running[i].Wait()
}

func (k *killed) await(n *atomic.Int64, by int64) {
	k.Helper()
	for end, from := time.Now().Add(60*time.Second), n.Load(); n.Load() < from+by; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			k.Fatalf("%d in 60 s, want %d", n.Load()-from, by)
		}
	}
}

// machine asks the servers in turn, as a machine that boots all the time.
func (k *killed) machine(i int, stop chan struct{}) {
	for turn := 0; ; turn++ {
		select {
		case <-stop:
			return
		default:
		}

		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		g, err := k.client.Get(ctx, *k.urls[turn%2].Load(), k.tpms[i], []kms.Want{{UUID: uuidOf(i)}})
		cancel()
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}

		if v := g.Volumes[0]; v.Status != kms.OK || string(v.Active.Secret.Reveal()) != "secret of a machine" {
			k.Errorf("machine %d got %v", i, v)
		}
		k.mu.Lock()
		k.got[k.tpms[i].NodeID().String()]++
		k.mu.Unlock()
		k.grants.Add(1)
	}
}

// operator puts each volume at both servers at once, with different secrets.
func (k *killed) operator(stop chan struct{}) {
	for n := 100; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		var group sync.WaitGroup
		for i, o := range k.hosts {
			group.Go(func() { k.putAt(o, uuidOf(n), fmt.Sprintf("of server %d, long enough", i)) })
		}
		group.Wait()
	}
}

func (k *killed) putAt(o home.Home, uuid kms.UUID, text string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if up, err := o.Running(ctx); err != nil || !up {
		time.Sleep(5 * time.Millisecond)
		return
	}

	if err := callAt(ctx, o, "POST", "/v1/volume/put", url.Values{"uuid": {uuid.String()}}, []byte(text), new([]lk1.Volume)); err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, again := k.put[uuid]; again {
		k.twice = append(k.twice, uuid)
	}

	k.put[uuid] = text
	k.puts.Add(1)
}

func (k *killed) verify() {
	k.Helper()
	if len(k.twice) > 0 {
		k.Errorf("%d volumes were put twice, at both servers: %v", len(k.twice), k.twice[0])
	}
	ctx := context.Background()
	for _, o := range k.hosts {
		var c ledger.Checked
		k.must(callAt(ctx, o, "GET", "/v1/check", nil, nil, &c))
		var volumes []lk1.Volume
		k.must(callAt(ctx, o, "GET", "/v1/volumes", nil, nil, &volumes))
		there := map[kms.UUID]bool{}
		for _, v := range volumes {
			there[v.UUID] = true
		}

		for uuid := range k.put {
			if !there[uuid] {
				k.Errorf("volume %s was acknowledged and is not there", uuid)
			}
		}
	}

	logged := map[string]int{}
	for from := uint64(1); ; {
		var events []ledger.Event
		k.must(callAt(ctx, k.hosts[0], "GET", "/v1/audit", url.Values{"from": {fmt.Sprint(from)}}, nil, &events))
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			if e.Event == "get" && e.Status == kms.OK.Code() {
				logged[e.Node]++
			}
		}
		from = events[len(events)-1].Seq + 1
	}

	for node, n := range k.got {
		if logged[node] < n {
			k.Errorf("node %s got its key %d times, and %d are in the audit log", node, n, logged[node])
		}
	}

	k.secrets(ctx)
}

// secrets gives the volumes that were put to a new machine: each is the one
// that was acknowledged.
func (k *killed) secrets(ctx context.Context) {
	k.Helper()
	tpm, err := softtpm.New()
	k.must(err)
	var wants []kms.Want
	for uuid := range k.put {
		if len(wants) < 8 {
			wants = append(wants, kms.Want{UUID: uuid})
		}
	}

	k.client.Get(ctx, *k.urls[0].Load(), tpm, wants)
	var approved lk1.Approved
	var named []kms.UUID
	for _, w := range wants {
		named = append(named, w.UUID)
	}
	k.must(callAt(ctx, k.hosts[1], "POST", "/v1/node/approve", nil, lk1.Approval{Who: tpm.NodeID().String(), Volumes: named}, &approved))
	g, err := k.client.Get(ctx, *k.urls[0].Load(), tpm, wants)
	k.must(err)
	for _, v := range g.Volumes {
		if want := secret.Own([]byte(k.put[v.UUID])); !v.Active.Secret.Equal(want) {
			k.Errorf("volume %s has another secret than the one that was acknowledged", v.UUID)
		}
	}
}
