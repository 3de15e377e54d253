package server_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/store"
	"latchkey/kms/store/etcd/etcdtest"
)

// A couple is two servers on one etcd, and a thief: who can write to it, and
// has no key of the KMS.
type couple struct {
	t        *testing.T
	cluster  *etcdtest.Server
	one, two *fixture
	thief    store.Store
}

func newCouple(t *testing.T) *couple {
	t.Helper()
	p := &couple{t: t, cluster: etcdtest.Start(t)}
	p.one = newKMSOn(t, openEtcd(t, p.cluster))
	p.two = &fixture{t: t, dir: t.TempDir(), wrapping: p.one.wrapping, enroll: p.one.enroll}
	if err := p.two.mark().Write(ledger.Position{}); err != nil {
		t.Fatal(err)
	}
	if err := p.two.serve(openEtcd(t, p.cluster), true); err != nil {
		t.Fatal(err)
	}
	p.thief = openEtcd(t, p.cluster)
	t.Cleanup(func() { p.thief.Close() })
	return p
}

// write writes rows as the thief; nil removes one.
func (p *couple) write(back rows) {
	p.t.Helper()
	err := p.thief.Update(ctx, func(tx store.Tx) error {
		for at, value := range back {
			if value == nil {
				tx.Delete(at[0], []byte(at[1]))
			} else if err := tx.Put(at[0], []byte(at[1]), value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// refuses: a server that runs says within two seconds that it releases
// nothing.
func (p *couple) refuses(f *fixture, who string) {
	p.t.Helper()
	for start := time.Now(); f.Ready() == nil; time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > time.Minute { // two seconds on a machine of its own
			p.t.Fatalf("%s stays ready", who)
		}
	}
}

// changed are the rows that changed, as they were before.
func changed(before, now rows) rows {
	all := rows{}
	for at, value := range now {
		if !bytes.Equal(before[at], value) {
			all[at] = before[at]
		}
	}
	return all
}

// D12 where each server has its own head: what the other server decided is
// put back, with all that belongs to it and nothing else, or moved. The one
// that decided nothing notices it as well.
func TestHeadPutBackUnderRunningServers(t *testing.T) {
	for _, row := range []struct {
		name string
		rows func(before, now rows) rows
	}{
		{"all rows of the other's last changes", changed},
		{"its head alone", func(before, now rows) rows { return only(changed(before, now), "meta") }},
		{"its rows without its head", func(before, now rows) rows {
			back := changed(before, now)
			for at := range back {
				if at[0] == "meta" {
					delete(back, at)
				}
			}
			return back
		}},
		{"its last event alone", func(before, now rows) rows { return only(changed(before, now), "audit") }},
		{"all heads removed but one", func(_, now rows) rows {
			back, left := rows{}, false
			for at := range now {
				if at[0] == "meta" && strings.HasPrefix(at[1], "state/") {
					if left {
						back[at] = nil
					}
					left = true
				}
			}
			return back
		}},
		{"its head under another name", func(_, now rows) rows {
			for at, value := range now {
				if at[0] == "meta" && strings.HasPrefix(at[1], "state/") {
					return rows{{"meta", "state/01020304"}: value}
				}
			}
			return nil
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newCouple(t)
			node := p.one.approved()
			p.one.mustGet(node)
			before := dump(t, p.thief)
			if _, err := p.two.SetQuarantine(ctx, node.NodeID().String(), true); err != nil {
				t.Fatal(err)
			}
			if _, err := p.one.get(node); code(err) != "quarantined" {
				t.Fatal(err)
			}

			p.write(row.rows(before, dump(t, p.thief)))
			for _, f := range []*fixture{p.one, p.two} {
				if g, err := f.get(node); err == nil {
					t.Errorf("a quarantined node was granted %v", g.Volumes)
				}
			}
			p.refuses(p.one, "the server that decided nothing")
			p.refuses(p.two, "the server that decided it")
			for _, f := range []*fixture{p.one, p.two} {
				f.Close() // its mark has all that it has seen
				if s, err := server.Open(server.Config{Store: openEtcd(t, p.cluster), Shared: true, Wrapping: f.wrapping, Mark: f.mark()}); err == nil {
					s.Close()
					t.Error("a server starts on it")
				}
			}
		})
	}
}

// only are the rows of one table.
func only(all rows, table string) rows {
	some := rows{}
	for at, value := range all {
		if at[0] == table {
			some[at] = value
		}
	}
	return some
}

// The same while no server runs: each start refuses it, by the mark of a
// server that only looked on.
func TestHeadPutBackWhileNoneRuns(t *testing.T) {
	p := newCouple(t)
	node := p.one.approved()
	before := dump(t, p.thief)
	if _, err := p.one.SetQuarantine(ctx, node.NodeID().String(), true); err != nil {
		t.Fatal(err)
	}
	want, err := p.one.mark().Read()
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the idle server's mark", func() bool {
		got, err := p.two.mark().Read()
		return err == nil && got.Epoch >= want.Epoch
	})
	p.one.web.Close()
	p.two.web.Close()
	p.one.Close()
	p.two.Close()

	p.write(changed(before, dump(t, p.thief)))
	for i, f := range []*fixture{p.one, p.two} {
		s, err := server.Open(server.Config{Store: openEtcd(t, p.cluster), Shared: true, Wrapping: f.wrapping, Mark: f.mark()})
		if err == nil {
			s.Close()
			t.Errorf("server %d starts on it", i)
		}
	}
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for start := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("%s does not come", what)
		}
	}
}
