package server_test

import (
	"bytes"
	"testing"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/store"
	"latchkey/kms/store/etcd"
	"latchkey/kms/store/etcd/etcdtest"
	"latchkey/kms/store/mirror"
)

// D12, faults/kms.md H2: who can write to the shared store, and has no key
// of the KMS, puts back what was decided against. A server that runs grants
// nothing by it, says so within two seconds, and none starts on it.
func TestStorePutBackUnderRunningServer(t *testing.T) {
	for _, row := range []struct {
		name string
		rows func(before, now rows, node string) rows
	}{
		{"one row", func(before, _ rows, node string) rows {
			return rows{{"nodes", node}: before[[2]string{"nodes", node}]}
		}},
		{"some rows and the state", func(before, _ rows, node string) rows {
			return rows{{"nodes", node}: before[[2]string{"nodes", node}], {"meta", "state"}: before[[2]string{"meta", "state"}]}
		}},
		{"all", func(before, now rows, _ string) rows {
			for at := range now {
				if _, there := before[at]; !there {
					before[at] = nil
				}
			}
			return before
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			cluster := etcdtest.Start(t)
			f := newKMSOn(t, openEtcd(t, cluster))
			node := f.approved()
			id := node.NodeID()
			thief := openEtcd(t, cluster)
			defer thief.Close()
			before := dump(t, thief)
			if _, err := f.SetQuarantine(ctx, id.String(), true); err != nil {
				t.Fatal(err)
			}
			if _, err := f.get(node); code(err) != "quarantined" {
				t.Fatal(err)
			}

			back := row.rows(before, dump(t, thief), string(id[:]))
			err := thief.Update(ctx, func(tx store.Tx) error {
				for at, value := range back {
					if value == nil {
						tx.Delete(at[0], []byte(at[1]))
					} else {
						tx.Put(at[0], []byte(at[1]), value)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}

			wrote := time.Now()
			if g, err := f.get(node); err == nil {
				t.Errorf("a quarantined node was granted %v", g.Volumes)
			}
			for f.Ready() == nil {
				if time.Since(wrote) > time.Minute { // two seconds on a machine of its own
					t.Fatal("the server stays ready")
				}
				time.Sleep(10 * time.Millisecond)
			}
			if s, err := server.Open(server.Config{Store: openEtcd(t, cluster), Shared: true, Wrapping: f.wrapping, Mark: f.mark()}); err == nil {
				s.Close()
				t.Error("a server starts on it")
			}
		})
	}
}

// faults/kms.md M4: the mark of a server that changes nothing follows those
// of the others.
func TestMarkFollowsOtherServers(t *testing.T) {
	cluster := etcdtest.Start(t)
	f := newKMSOn(t, openEtcd(t, cluster))
	idle := &fixture{t: t, dir: t.TempDir(), wrapping: f.wrapping, enroll: f.enroll}
	if err := idle.mark().Write(ledger.Position{}); err != nil {
		t.Fatal(err)
	}
	if err := idle.serve(openEtcd(t, cluster), true); err != nil {
		t.Fatal(err)
	}

	before, err := idle.mark().Read()
	if err != nil {
		t.Fatal(err)
	}
	f.approved()
	want, err := f.mark().Read()
	if err != nil || want.Epoch <= before.Epoch {
		t.Fatalf("an approval raised the mark from %v to %v, %v", before, want, err)
	}
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if got, err := idle.mark().Read(); err == nil && !got.Before(ledger.Position{Epoch: want.Epoch}) {
			return
		}
		if time.Since(start) > time.Minute {
			t.Fatalf("the idle server's mark is not raised to %v", want)
		}
	}
}

type rows map[[2]string][]byte

// dump is what the store has, as who has no key sees it.
func dump(t *testing.T, st store.Store) rows {
	t.Helper()
	all := rows{}
	err := st.View(func(r store.Reader) error {
		for _, table := range server.CopyTables() {
			r.Scan(table, nil, func(key, value []byte) bool {
				all[[2]string{table, string(key)}] = bytes.Clone(value)
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func openEtcd(t *testing.T, cluster *etcdtest.Server) store.Store {
	t.Helper()
	db, err := etcd.Open(ctx, etcd.Config{
		Endpoints: []string{cluster.URL}, TLS: cluster.TLS(t), Prefix: "kms", Create: true,
		Config: mirror.Config{Tables: server.Tables(), Logs: server.LogTables(), Passing: server.PassingTables()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}
