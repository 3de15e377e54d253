package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
	"latchkey/kms/store/etcd"
	"latchkey/kms/store/etcd/etcdtest"
	"latchkey/kms/store/mirror"
	"latchkey/kms/store/storetest"
)

var ctx = context.Background()

func config(t testing.TB, s *etcdtest.Server, prefix string) etcd.Config {
	return etcd.Config{
		Endpoints: []string{s.URL}, Prefix: prefix, TLS: s.TLS(t),
		Config: mirror.Config{Tables: storetest.Tables(), Logs: []string{storetest.Log}, Wait: time.Second, Quiet: -1},
	}
}

func open(t testing.TB, c etcd.Config) *mirror.DB {
	t.Helper()
	db, err := etcd.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// TestStore runs the other program.
//
// compatible: Stores | etcd 3.4 | keeps the store
func TestStore(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	n := 0
	storetest.Run(t, func(t testing.TB) storetest.Place {
		n++
		return place(t, server, fmt.Sprintf("test-%d", n))
	})
}

func place(t testing.TB, server *etcdtest.Server, prefix string) storetest.Place {
	c := config(t, server, prefix)
	c.Create = true
	open(t, c).Close()
	c.Create = false
	return storetest.Place{
		Shared: true, Apart: true, Large: 1 << 20,
		Open: func() (store.Store, error) { return etcd.Open(ctx, c) },
		Damage: func(t testing.TB) {
			client := server.Client(t)
			defer client.Close()
			if _, err := client.Put(ctx, prefix+"/head", "something else"); err != nil {
				t.Fatal(err)
			}
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
			to := place(t, server, prefix+"-restored")
			db, err := to.Open()
			if err != nil {
				return to, err
			}
			defer db.Close()
			return to, store.Copy(ctx, from, db, storetest.Tables())
		},
	}
}

func put(db store.Store, key string) error {
	return db.Update(ctx, func(tx store.Tx) error { return tx.Put(storetest.A, []byte(key), []byte{1}) })
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

// Bad addresses and missing stores each have one clear line.
func TestWhatIsNotThere(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	c := config(t, server, "nothing")
	if _, err := etcd.Open(ctx, c); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening what was never made = %v, want %v", err, fs.ErrNotExist)
	}

	client := server.Client(t)
	defer client.Close()
	if _, err := client.Put(ctx, "headless/t/a/k", "v"); err != nil {
		t.Fatal(err)
	}

	if _, err := etcd.Open(ctx, config(t, server, "headless")); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("opening rows without a head = %v, want %v", err, store.ErrDamaged)
	}
	anybody := config(t, server, "nothing")
	anybody.TLS.Certificates, anybody.Wait = nil, time.Second/2
	if _, err := etcd.Open(ctx, anybody); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening without a client certificate = %v, want it refused", err)
	}

	nobody := config(t, server, "nothing")
	nobody.Endpoints, nobody.Wait = []string{"https://127.0.0.1:1"}, time.Second/2
	_, err := etcd.Open(ctx, nobody)
	if err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), "https://127.0.0.1:1") {
		t.Errorf("opening where nobody listens = %v, want one line that names it", err)
	}
}

// The next address is tried when one does not answer.
func TestFailover(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	c := config(t, server, "failover")
	c.Endpoints, c.Create = []string{"https://127.0.0.1:1", server.URL, "https://127.0.0.1:2"}, true
	db := open(t, c)
	for i := range 5 {
		if err := put(db, fmt.Sprint(i)); err != nil {
			t.Errorf("Update with one of three addresses alive = %v", err)
		}
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, "--max-txn-ops", "1000")
	c := config(t, server, "large")
	c.Create = true
	db := open(t, c)

	rows := func(n int) func(store.Tx) error {
		return func(tx store.Tx) error {
			for i := range n {
				if err := tx.Put(storetest.A, fmt.Append(nil, i), []byte{1}); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if err := db.Update(ctx, rows(etcd.DefaultMaxOps-1)); err != nil {
		t.Errorf("an update of %d rows = %v", etcd.DefaultMaxOps-1, err)
	}

	if err := db.Update(ctx, rows(etcd.DefaultMaxOps)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("an update of %d rows = %v, want %v", etcd.DefaultMaxOps, err, store.ErrTooLarge)
	}
	c.MaxOps = 1000
	if err := open(t, c).Update(ctx, rows(999)); err != nil {
		t.Errorf("an update of 999 rows where etcd takes 1,000 = %v", err)
	}

	if err := db.Update(ctx, func(tx store.Tx) error { return tx.Put(storetest.A, []byte("k"), make([]byte, 2<<20)) }); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("an update of 2 MiB = %v, want %v", err, store.ErrTooLarge)
	}
}

// etcd is killed and comes back, again and again, under two replicas: what
// was acknowledged is there, and both go on without being started again.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	c := config(t, server, "kill")
	l := newLoad(t, c)
	for range 3 {
		await(t, &l.done, 200)
		server.Kill()
		await(t, &l.failed, 1)
		server.Run(t)
	}
	await(t, &l.done, 200)
	l.verify(t, c)
}

// Each of three members is killed in turn, the leader among them: both
// replicas go on at the others.
//
// compatible: Stores | etcd 3.4, three members | each is killed in turn under load
func TestMembersKilledUnderLoad(t *testing.T) {
	t.Parallel()
	members := etcdtest.Cluster(t, 3)
	c := config(t, members[0], "members")
	c.Endpoints = []string{members[0].URL, members[1].URL, members[2].URL}
	l := newLoad(t, c)
	for _, m := range members {
		await(t, &l.done, 100)
		m.Kill()
		await(t, &l.done, 100) // without it
		m.Run(t)
	}
	l.verify(t, c)
}

// A load is two replicas that write all the time.
type load struct {
	replicas     []*mirror.DB
	acknowledged sync.Map
	failed, done atomic.Int64
	stop         chan struct{}
	group        sync.WaitGroup
}

func newLoad(t *testing.T, c etcd.Config) *load {
	c.Create = true
	l := &load{replicas: []*mirror.DB{open(t, c), open(t, c)}, stop: make(chan struct{})}
	for w := range 8 {
		l.group.Go(func() { l.write(w) })
	}
	return l
}

func (l *load) write(w int) {
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		default:
		}
		key := fmt.Sprintf("%d-%d", w, i)
		if err := put(l.replicas[w%2], key); err != nil {
			l.failed.Add(1)
			continue
		}
		l.acknowledged.Store(key, true)
		l.done.Add(1)
	}
}

// verify ends the load and looks for what was acknowledged, at both replicas
// and at a new one.
func (l *load) verify(t *testing.T, c etcd.Config) {
	t.Helper()
	close(l.stop)
	l.group.Wait()
	for i, db := range append(l.replicas, open(t, c)) {
		there := keys(t, db)
		l.acknowledged.Range(func(key, _ any) bool {
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
	for end, from := time.Now().Add(30*time.Second), n.Load(); n.Load() < from+by; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("a counter rose by %d in 30 s, want %d", n.Load()-from, by)
		}
	}
}

// While etcd is away every update and view fails, with one line and in
// bounded time; then they work again.
func TestAway(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	c := config(t, server, "away")
	c.Create = true
	db := open(t, c)
	if err := put(db, "before"); err != nil {
		t.Fatal(err)
	}

	server.Kill()
	start := time.Now()
	err := put(db, "during")
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), server.URL) {
		t.Errorf("Update without etcd = %v, want one line that names it", err)
	}

	if err := db.View(func(store.Reader) error { return nil }); err == nil {
		t.Error("a view without etcd: it may be old")
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("an update and a view without etcd took %v", took)
	}

	server.Run(t)
	for end := time.Now().Add(5 * time.Second); ; {
		if err = put(db, "after"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("Update 5 s after etcd is back = %v", err)
		}
	}
}

// A log is read though the revision of its newest row was compacted: nobody
// has written since.
func TestCompaction(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	c := config(t, server, "compact")
	c.Create = true
	db := open(t, c)
	for i := range 20 {
		if err := db.Update(ctx, func(tx store.Tx) error { return tx.Put(storetest.Log, fmt.Append(nil, i), []byte{1}) }); err != nil {
			t.Fatal(err)
		}
	}

	client := server.Client(t)
	defer client.Close()
	for range 3 {
		if _, err := client.Put(ctx, "elsewhere", "x"); err != nil {
			t.Fatal(err)
		}
	}

	got, err := client.Get(ctx, "elsewhere")
	if err != nil {
		t.Fatal(err)
	}

	if _, err := client.Compact(ctx, got.Header.Revision); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := db.View(func(r store.Reader) error {
		r.Scan(storetest.Log, nil, func(_, _ []byte) bool { n++; return true })
		return nil
	}); err != nil || n != 20 {
		t.Errorf("the log has %d rows (%v), want 20", n, err)
	}
}

// An etcd that was put back to an older state is noticed by a running
// replica: what it knows is newer.
func TestPutBack(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	c := config(t, server, "back")
	c.Create = true
	db := open(t, c)
	for i := range 5 {
		if err := put(db, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}

	server.Kill()
	server.Forget(t)
	server.Run(t)
	c.Create = true
	open(t, c)
	if err := put(db, "more"); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Update on an older etcd = %v, want %v", err, store.ErrDamaged)
	}
}

// Backups do not hold what lives for minutes.
func TestBackupLeavesOut(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	c := config(t, server, "passing")
	c.Create, c.Passing = true, []string{storetest.B}
	db := open(t, c)
	if err := db.Update(ctx, func(tx store.Tx) error { return tx.Put(storetest.B, []byte("cookie key"), []byte("canary")) }); err != nil {
		t.Fatal(err)
	}

	var out bytes.Buffer
	if err := db.Backup(&out); err != nil {
		t.Fatal(err)
	}

	if bytes.Contains(out.Bytes(), []byte("canary")) {
		t.Error("the backup holds a row of a table that is to be left out")
	}
}
