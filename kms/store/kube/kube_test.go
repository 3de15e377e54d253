package kube_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
	"latchkey/kms/store/kube"
	"latchkey/kms/store/kube/kubetest"
	"latchkey/kms/store/mirror"
	"latchkey/kms/store/storetest"
)

var ctx = context.Background()

func config(t testing.TB, s *kubetest.Server, name string) kube.Config {
	return kube.Config{
		Client: s.Client(t, kubetest.Admin), Namespace: "keys", Name: name,
		Config: mirror.Config{Tables: storetest.Tables(), Logs: []string{storetest.Log}, Wait: 2 * time.Second},
	}
}

func open(t testing.TB, c kube.Config) *mirror.DB {
	t.Helper()
	db, err := kube.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// All tests share one API server: it takes seconds to start.
//
// compatible: Stores | kube-apiserver 1.36 | keeps the store, by the manifests and rights of docs/stores.md
func TestKube(t *testing.T) {
	server := kubetest.Start(t)
	server.Namespace(t, "keys")
	t.Run("store", func(t *testing.T) {
		n := 0
		storetest.Run(t, func(t testing.TB) storetest.Place {
			n++
			return place(t, server, fmt.Sprintf("test-%d", n))
		})
	})

	t.Run("nothing there", func(t *testing.T) {
		if _, err := kube.Open(ctx, config(t, server, "nothing")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("opening what was never made = %v, want %v", err, fs.ErrNotExist)
		}
	})

	t.Run("not allowed", func(t *testing.T) {
		c := config(t, server, "test-1")
		c.Client = server.Client(t, kubetest.Kairos)
		if _, err := kube.Open(ctx, c); err == nil || !strings.Contains(err.Error(), "cannot list") {
			t.Errorf("opening without the right to = %v, want what the API server says", err)
		}
	})

	t.Run("lost head", func(t *testing.T) { lostHead(t, server) })
	t.Run("crash", func(t *testing.T) { crash(t, server) })
	t.Run("killed", func(t *testing.T) { killed(t, server) })
}

func place(t testing.TB, server *kubetest.Server, name string) storetest.Place {
	c := config(t, server, name)
	c.Create = true
	open(t, c).Close()
	c.Create = false
	return storetest.Place{
		Shared: true, Serial: true, Large: 128 << 10,
		Open: func() (store.Store, error) { return kube.Open(ctx, c) },
		Damage: func(t testing.TB) {
			change(t, server, name+"-head", func(data map[string][]byte) { data["rows"] = []byte("something else") })
		},
		Accept: func(backup []byte) (storetest.Place, error) {
			path := filepath.Join(t.TempDir(), "backup")
			if err := os.WriteFile(path, backup, 0o600); err != nil {
				return storetest.Place{}, err
			}

			from, err := bolt.Open(path, false, storetest.Tables())
			if err != nil {
				return storetest.Place{}, err
			}
			defer from.Close()
			to := place(t, server, name+"-restored")
			db, err := to.Open()
			if err != nil {
				return to, err
			}
			defer db.Close()
			return to, store.Copy(ctx, from, db, storetest.Tables())
		},
	}
}

const secrets = "/api/v1/namespaces/keys/secrets"

// change edits a Secret as an administrator.
func change(t testing.TB, server *kubetest.Server, name string, f func(map[string][]byte)) {
	t.Helper()
	admin := server.Client(t, kubetest.Admin)
	defer admin.Close()
	var o struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   map[string]any    `json:"metadata"`
		Type       string            `json:"type"`
		Data       map[string][]byte `json:"data"`
	}

	if err := admin.Do(ctx, http.MethodGet, secrets+"/"+name, nil, nil, &o); err != nil {
		t.Fatal(err)
	}
	f(o.Data)
	if err := admin.Do(ctx, http.MethodPut, secrets+"/"+name, nil, o, nil); err != nil {
		t.Fatal(err)
	}
}

func put(db store.Store, key string) error {
	return db.Update(ctx, func(tx store.Tx) error { return tx.Put(storetest.A, []byte(key), []byte(key)) })
}

func keys(t testing.TB, db store.Store) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	if err := db.View(func(r store.Reader) error {
		r.Scan(storetest.A, nil, func(key, _ []byte) bool { all[string(key)] = true; return true })
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func lostHead(t *testing.T, server *kubetest.Server) {
	c := config(t, server, "headless")
	c.Create = true
	db := open(t, c)
	for i := range 100 { // more than the head holds
		if err := put(db, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}

	admin := server.Client(t, kubetest.Admin)
	defer admin.Close()
	if err := admin.Do(ctx, http.MethodDelete, secrets+"/headless-head", nil, nil, nil); err != nil {
		t.Fatal(err)
	}

	if err := put(db, "more"); err == nil {
		t.Error("Update without a head succeeded")
	}
	c.Create = false
	if _, err := kube.Open(ctx, c); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("opening shards without a head = %v, want %v", err, store.ErrDamaged)
	}
}

// cut is an API server whose n-th write fails, before or after it was done:
// as if the key server had died there.
type cut struct {
	http.RoundTripper
	after bool
	left  atomic.Int64
}

var errCut = errors.New("cut")

func (c *cut) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet || c.left.Add(-1) > 0 {
		return c.RoundTripper.RoundTrip(r)
	}
	if c.after && c.left.Load() == 0 {
		if response, err := c.RoundTripper.RoundTrip(r); err == nil {
			response.Body.Close()
		}
	}
	return nil, errCut
}

// cuts are writes: the first ones, and those at which the head is full and
// its rows are carried into the shards.
var cuts = []int{1, 2, 24, 25, 26, 27, 28, 30, 40}

// crash ends a server at each of its writes, before and after it is done:
// what was acknowledged is there for the next, whole.
func crash(t *testing.T, server *kubetest.Server) {
	for _, after := range []bool{false, true} {
		for _, n := range cuts {
			c := config(t, server, fmt.Sprintf("crash-%t-%d", after, n))
			c.Create = true
			open(t, c).Close()
			dying := c
			dying.Client = server.Client(t, kubetest.Admin)
			dying.Wait = 200 * time.Millisecond
			one := &cut{after: after}
			one.left.Store(int64(n))
			dying.Client.Wrap(func(rt http.RoundTripper) http.RoundTripper { one.RoundTripper = rt; return one })
			dying.Create = false
			db := open(t, dying)
			acknowledged := 0
			for ; ; acknowledged++ {
				if err := two(db, acknowledged); err != nil {
					break
				}
			}

			next := open(t, config(t, server, dying.Name))
			check(t, next, acknowledged, fmt.Sprintf("cut at write %d, done %t", n, after))
			if err := two(next, 1000); err != nil {
				t.Errorf("the next server's update = %v", err)
			}
			db.Close()
			next.Close()
		}
	}
}

// two writes two rows in two shards.
func two(db store.Store, n int) error {
	return db.Update(ctx, func(tx store.Tx) error {
		tx.Put(storetest.B, fmt.Append(nil, n), []byte{1})
		return tx.Put(storetest.A, fmt.Append(nil, n), []byte{1})
	})
}

// check: all that was acknowledged is there, at most one more, and that
// whole.
func check(t *testing.T, db store.Store, acknowledged int, when string) {
	t.Helper()
	if err := db.View(func(r store.Reader) error {
		for n := range acknowledged + 2 {
			a, b := r.Get(storetest.A, fmt.Append(nil, n)) != nil, r.Get(storetest.B, fmt.Append(nil, n)) != nil
			if a != b || n < acknowledged && !a || n > acknowledged && a {
				t.Errorf("%s: update %d is there: %t and %t; %d were acknowledged", when, n, a, b, acknowledged)
			}
		}
		return nil
	}); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

// killed: the API server is killed and comes back under two replicas.
func killed(t *testing.T, server *kubetest.Server) {
	c := config(t, server, "killed")
	c.Create = true
	other := c
	other.Client = server.Client(t, kubetest.Admin)
	replicas := []*mirror.DB{open(t, c), open(t, other)}
	var acknowledged sync.Map
	var failed, done atomic.Int64
	stop := make(chan struct{})
	var group sync.WaitGroup

	for w := range 4 {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("%d-%d", w, i)
				if err := put(replicas[w%2], key); err != nil {
					failed.Add(1)
					continue
				}
				acknowledged.Store(key, true)
				done.Add(1)
			}
		})
	}

	await(t, &done, 100)
	server.Stop()
	await(t, &failed, 1)
	server.Run(t)
	await(t, &done, 100)
	close(stop)
	group.Wait()

	for i, db := range append(replicas, open(t, config(t, server, "killed"))) {
		there := keys(t, db)
		acknowledged.Range(func(key, _ any) bool {
			if !there[key.(string)] {
				t.Errorf("replica %d: %s was acknowledged and is not there", i, key)
			}
			return true
		})
	}
}

// await waits until a counter has risen by so much.
func await(t testing.TB, n *atomic.Int64, by int64) {
	t.Helper()
	for end, from := time.Now().Add(60*time.Second), n.Load(); n.Load() < from+by; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("a counter rose by %d in 60 s, want %d", n.Load()-from, by)
		}
	}
}
