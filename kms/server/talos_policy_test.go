package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"

	"latchkey/kms/server/fleet"
	taloskeeper "latchkey/kms/server/talos/keeper"

	sidero "github.com/siderolabs/kms-client/api/kms"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"latchkey/kms"
	"latchkey/kms/server/talos"
	"latchkey/kms/store"
)

func TestTalosPolicy(t *testing.T) {
	ours := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	uuid, err := kms.ParseUUID(box)
	if err != nil {
		t.Fatal(err)
	}

	for _, row := range []struct {
		name string
		o    taloskeeper.Options
		ok   bool
		rows int // what unknown machines leave behind
	}{
		{"approve", taloskeeper.Options{}, false, 1},
		{"closed", taloskeeper.Options{Enroll: fleet.Closed}, false, 0},
		{"tofu", taloskeeper.Options{Enroll: fleet.Tofu}, true, 1},
		{"allowed", taloskeeper.Options{Enroll: fleet.Closed, Allow: []kms.UUID{uuid}}, true, 1},
		{"not allowed", taloskeeper.Options{Enroll: fleet.Tofu, Allow: []kms.UUID{{9}}}, false, 0},
		{"from here", taloskeeper.Options{Enroll: fleet.Tofu, Sources: ours}, true, 1},
		{"not from here", taloskeeper.Options{Enroll: fleet.Tofu, Sources: elsewhere}, false, 0},
	} {
		l := newTalos(t, row.o)
		_, err := l.machine().Seal(context.Background(), &sidero.Request{NodeUuid: box, Data: diskKey})
		if nodes, _ := l.Talos.Nodes(); (err == nil) != row.ok || len(nodes) != row.rows {
			t.Errorf("%s: Seal = %v with %d rows, want success %v with %d", row.name, err, len(nodes), row.ok, row.rows)
		}
	}

	l := newTalos(t, taloskeeper.Options{})
	l.do("approve", box, elsewhere...)
	_, err = l.machine().Seal(context.Background(), &sidero.Request{NodeUuid: box, Data: diskKey})
	l.wantRefusal("the machine's own networks", err)
}

// What is bound to an address opens from there only, and a machine that
// asks from two is said to be two.
func TestTalosAddress(t *testing.T) {
	l := &talosLab{fixture: newKMS(t), proxies: proxies{Proxies: here4, ProxyProtocol: true}}
	l.listen(nil)
	l.Talos.SetOptions(taloskeeper.Options{BindAddress: true})
	l.do("approve", box)
	here, there := l.from("192.0.2.1"), l.from("192.0.2.2")
	bound := l.seal(here, box)
	l.wantKey(here, box, bound)
	_, err := unseal(there, box, bound)
	l.wantRefusal("another address", err)
	l.Talos.SetOptions(taloskeeper.Options{})
	_, err = unseal(there, box, bound)
	l.wantRefusal("another address, the option off again", err)
	l.wantKey(here, box, bound)
	l.wantKey(there, box, l.seal(here, box))
	events := l.log()
	if last := events[len(events)-1]; !strings.Contains(last.Detail, "192.0.2.1: two machines may have this UUID") {
		t.Errorf("the last event is %+v, want a word on two machines", last)
	}
}

// Noise is random, of an answer's size, and never stands for a failure of
// the server's own.
func TestTalosNoise(t *testing.T) {
	disk := &full{}
	l := newTalos(t, taloskeeper.Options{Noise: true, Enroll: fleet.Closed}, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store {
			disk.Store = st
			return disk
		}
	})

	l.do("approve", box)
	m := l.machine()
	blob := l.seal(m, box)
	a, err := unseal(m, other, blob)
	b, again := unseal(m, other, blob)
	if err != nil || again != nil || len(a) != talos.KeySize || bytes.Equal(a, b) || bytes.Equal(a, diskKey) {
		t.Errorf("Unseal for another machine = %x, %v and %x, %v, want other random bytes each time", a, err, b, again)
	}

	if r, err := m.Seal(context.Background(), &sidero.Request{NodeUuid: other, Data: diskKey}); err != nil || len(r.Data) != len(blob) {
		t.Errorf("Seal for an unknown machine = %x, %v, want %d random bytes", r.GetData(), err, len(blob))
	}
	disk.on.Store(true)
	for _, uuid := range []string{box, other} {
		if key, err := unseal(m, uuid, blob); status.Code(err) != codes.Unavailable {
			t.Errorf("Unseal for %s on a full disk = %x, %v, want Unavailable", uuid, key, err)
		}
	}

	disk.on.Store(false)
	l.wantKey(m, box, blob)
}

// Old blobs open after a rotation, and no longer once their key is retired.
func TestTalosRotation(t *testing.T) {
	ctx := context.Background()
	l := newTalos(t, taloskeeper.Options{})
	l.do("approve", box)
	m := l.machine()
	old := l.seal(m, box)
	if _, err := l.RetireKey(ctx, "talos", 1, false); err == nil {
		t.Error("the current key was retired")
	}

	if _, err := l.RotateKey(ctx, "talos"); err != nil {
		t.Fatal(err)
	}
	fresh := l.seal(m, box)
	l.wantKey(m, box, old)
	l.wantKey(m, box, fresh)
	keys, err := l.Keys("talos")
	if err != nil || len(keys) != 2 || !keys[1].Current || keys[0].Users != 1 {
		t.Errorf("Keys = %+v, %v, want two, the second current, the first with one user", keys, err)
	}

	if _, err := l.RetireKey(ctx, "talos", 1, false); err != nil {
		t.Fatal(err)
	}
	_, err = unseal(m, box, old)
	l.wantRefusal("a retired key", err)
	l.wantKey(m, box, fresh)
	if _, err := l.Check(); err != nil {
		t.Error(err)
	}

	l.Close()
	if err := l.start(); err != nil { // from the disk, as any record
		t.Fatal(err)
	}

	l.listen(nil)
	l.wantKey(l.machine(), box, fresh)
}

func TestTalosTLS(t *testing.T) {
	p := newPair(t, "kms")
	l := &talosLab{fixture: newKMS(t)}
	l.listen(credentials.NewTLS(p.load(t).Config(tls.VersionTLS13)))
	l.do("approve", box)
	m := l.dial(credentials.NewTLS(&tls.Config{RootCAs: p.pool, MinVersion: tls.VersionTLS13}))
	l.wantKey(m, box, l.seal(m, box))
	for name, creds := range map[string]credentials.TransportCredentials{
		"TLS 1.2":    credentials.NewTLS(&tls.Config{RootCAs: p.pool, MaxVersion: tls.VersionTLS12}),
		"plain text": insecure.NewCredentials(),
	} {
		if _, err := unseal(l.dial(creds), box, nil); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v, want Unavailable", name, err)
		}
	}
}

// A flood of UUIDs leaves a bounded table, and those approved are served.
func TestTalosFlood(t *testing.T) {
	l := newTalos(t, taloskeeper.Options{})
	l.do("approve", box)
	m := l.machine()
	blob := l.seal(m, box)
	for i := range 1100 {
		u := kms.UUID{1, byte(i >> 8), byte(i)}
		if _, err := unseal(m, u.String(), blob); err == nil {
			t.Fatal("an unknown machine was served")
		}
	}
	if nodes, err := l.Talos.Nodes(); err != nil || len(nodes) != 251 { // one source has a quarter of the table
		t.Errorf("%d rows, %v, want 250 that are pending and one", len(nodes), err)
	}
	l.wantKey(m, box, blob)
}
