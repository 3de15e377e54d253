package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	sidero "github.com/siderolabs/kms-client/api/kms"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"latchkey/kms"
	"latchkey/kms/server"
	"latchkey/kms/server/talos"
	"latchkey/kms/store"
)

const (
	box   = "4c4c4544-0042-3510-8052-b4c04f4d3632"
	other = "4c4c4544-0042-3510-8052-b4c04f4d3633"
)

// diskKey is what a machine seals; it must not be seen where it should not.
var diskKey = []byte("canary-key-of-a-talos-disk-32-by")

// A talosLab is a KMS that speaks Talos' protocol, and Sidero's own client.
type talosLab struct {
	*fixture
	addr string
	proxies
}

type proxies = server.FrontOptions

func newTalos(t *testing.T, o server.TalosOptions, options ...option) *talosLab {
	t.Helper()
	l := &talosLab{fixture: newKMS(t, options...)}
	l.SetTalos(o)
	l.listen(nil)
	return l
}

func (l *talosLab) listen(creds credentials.TransportCredentials) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	g := server.NewTalos(l.Server, creds)
	go g.Serve(server.Door(inner, l.proxies))
	l.t.Cleanup(g.Stop)
	l.addr = inner.Addr().String()
}

func (l *talosLab) dial(creds credentials.TransportCredentials, options ...grpc.DialOption) sidero.KMSServiceClient {
	conn, err := grpc.NewClient(l.addr, append(options, grpc.WithTransportCredentials(creds))...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	return sidero.NewKMSServiceClient(conn)
}

func (l *talosLab) machine() sidero.KMSServiceClient { return l.dial(insecure.NewCredentials()) }

// from is a machine somewhere else, behind a proxy that says so.
func (l *talosLab) from(address string) sidero.KMSServiceClient {
	return l.dial(insecure.NewCredentials(), grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
		conn, err := net.Dial("tcp", l.addr)
		if err == nil {
			_, err = conn.Write(proxyHeader(address + ":1"))
		}
		return conn, err
	}))
}

func (l *talosLab) seal(c sidero.KMSServiceClient, uuid string) []byte {
	l.t.Helper()
	r, err := c.Seal(context.Background(), &sidero.Request{NodeUuid: uuid, Data: diskKey})
	if err != nil {
		l.t.Fatal(err)
	}
	return r.Data
}

func unseal(c sidero.KMSServiceClient, uuid string, blob []byte) ([]byte, error) {
	r, err := c.Unseal(context.Background(), &sidero.Request{NodeUuid: uuid, Data: blob})
	return r.GetData(), err
}

func (l *talosLab) wantKey(c sidero.KMSServiceClient, uuid string, blob []byte) {
	l.t.Helper()
	if key, err := unseal(c, uuid, blob); err != nil || !bytes.Equal(key, diskKey) {
		l.t.Errorf("Unseal for %s = %q, %v, want the key", uuid, key, err)
	}
}

// wantRefusal: one code and one text, whatever the cause.
func (l *talosLab) wantRefusal(cause string, err error) {
	l.t.Helper()
	if st := status.Convert(err); err == nil || st.Code() != codes.PermissionDenied || st.Message() != "refused" || len(st.Details()) > 0 {
		l.t.Errorf("%s: %v, want PermissionDenied and refused", cause, err)
	}
}

func (l *talosLab) do(command, uuid string, sources ...netip.Prefix) {
	l.t.Helper()
	u, err := kms.ParseUUID(uuid)
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.ChangeTalos(context.Background(), command, u, sources); err != nil {
		l.t.Fatal(err)
	}
}

// A machine is unknown, approved, served, stopped, readmitted, deleted; the
// log tells it.
func TestTalosLife(t *testing.T) {
	l := newTalos(t, server.TalosOptions{})
	m := l.machine()
	for range 3 {
		_, err := m.Seal(context.Background(), &sidero.Request{NodeUuid: box, Data: diskKey})
		l.wantRefusal("unknown", err)
	}
	if nodes, err := l.TalosNodes(); err != nil || len(nodes) != 1 || nodes[0].Describe() != "pending" || nodes[0].From.String() != "127.0.0.1" {
		t.Fatalf("TalosNodes = %+v, %v, want one that is pending, from 127.0.0.1", nodes, err)
	}
	l.do("approve", box)
	one, two := l.seal(m, box), l.seal(m, box)
	if bytes.Equal(one, two) || len(one) > 4<<10 || bytes.Contains(one, diskKey[:8]) {
		t.Errorf("Seal = %x and %x: the same, too long, or the key itself", one, two)
	}
	l.wantKey(m, box, one)
	l.wantKey(m, box, two)
	l.do("quarantine", box)
	_, err := unseal(m, box, one)
	l.wantRefusal("quarantined", err)
	l.do("readmit", box)
	l.wantKey(m, box, one)
	l.do("delete", box)
	_, err = unseal(m, box, one)
	l.wantRefusal("deleted", err)
	var got []string
	for _, e := range l.log() {
		if e.Node == box {
			got = append(got, e.Event+" "+e.Status+" "+e.Detail)
		}
	}
	want := "talos seal refused pending|talos approve  |talos seal ok |talos seal ok |talos unseal ok |talos unseal ok |talos quarantine  |" +
		"talos unseal refused quarantined|talos readmit  |talos unseal ok |talos delete  |talos unseal refused deleted"
	if strings.Join(got, "|") != want {
		t.Errorf("the log has\n%s, want\n%s", strings.Join(got, "|"), want)
	}
}

// All that is refused looks the same.
func TestTalosRefusals(t *testing.T) {
	l := newTalos(t, server.TalosOptions{})
	l.do("approve", box)
	l.do("approve", other)
	m := l.machine()
	blob := l.seal(m, box)
	flip := func(i int) []byte { b := bytes.Clone(blob); b[i] ^= 1; return b }
	for _, row := range []struct {
		name, uuid string
		blob       []byte
	}{
		{"another machine's blob", other, blob},
		{"another format", box, flip(0)}, {"another flag", box, flip(1)}, {"another version", box, flip(5)},
		{"another nonce", box, flip(6)}, {"an edited blob", box, flip(len(blob) - 1)},
		{"a short blob", box, blob[:len(blob)-1]}, {"a long blob", box, append(bytes.Clone(blob), 0)},
		{"nothing", box, nil}, {"5 KiB", box, make([]byte, 5<<10)},
		{"an unknown machine", "4c4c4544-0042-3510-8052-b4c04f4d3634", blob},
		{"no UUID", "", blob}, {"upper case", strings.ToUpper(box), blob}, {"half a UUID", box[:18], blob},
		{"a UUID of zeros", "00000000-0000-0000-0000-000000000000", blob}, {"of ones", "ffffffff-ffff-ffff-ffff-ffffffffffff", blob},
		{"of a vendor's sample", "03000200-0400-0500-0006-000700080009", blob},
	} {
		_, err := unseal(m, row.uuid, row.blob)
		l.wantRefusal(row.name, err)
	}
	for _, n := range []int{0, 31, 33, 64} {
		_, err := m.Seal(context.Background(), &sidero.Request{NodeUuid: box, Data: make([]byte, n)})
		l.wantRefusal("a key of another size", err)
	}
	l.wantKey(m, box, blob)
}

// Limits: who sends more than any machine does is cut off.
func TestTalosLimits(t *testing.T) {
	l := newTalos(t, server.TalosOptions{})
	l.do("approve", box)
	m := l.machine()
	if _, err := unseal(m, box, make([]byte, 100<<10)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("100 KiB: %v, want ResourceExhausted", err)
	}
	for range 64 {
		conn, err := net.Dial("tcp", l.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	blob := l.seal(l.machine(), box)
	began := time.Now()
	l.wantKey(l.machine(), box, blob)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Unseal beside 64 that hold connections open took %v, want less than 2 s", took)
	}
}

func TestTalosPolicy(t *testing.T) {
	ours := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	uuid, err := kms.ParseUUID(box)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		o    server.TalosOptions
		ok   bool
		rows int // what unknown machines leave behind
	}{
		{"approve", server.TalosOptions{}, false, 1},
		{"closed", server.TalosOptions{Enroll: server.Closed}, false, 0},
		{"tofu", server.TalosOptions{Enroll: server.Tofu}, true, 1},
		{"allowed", server.TalosOptions{Enroll: server.Closed, Allow: []kms.UUID{uuid}}, true, 1},
		{"not allowed", server.TalosOptions{Enroll: server.Tofu, Allow: []kms.UUID{{9}}}, false, 0},
		{"from here", server.TalosOptions{Enroll: server.Tofu, Sources: ours}, true, 1},
		{"not from here", server.TalosOptions{Enroll: server.Tofu, Sources: elsewhere}, false, 0},
	} {
		l := newTalos(t, row.o)
		_, err := l.machine().Seal(context.Background(), &sidero.Request{NodeUuid: box, Data: diskKey})
		if nodes, _ := l.TalosNodes(); (err == nil) != row.ok || len(nodes) != row.rows {
			t.Errorf("%s: Seal = %v with %d rows, want success %v with %d", row.name, err, len(nodes), row.ok, row.rows)
		}
	}
	l := newTalos(t, server.TalosOptions{})
	l.do("approve", box, elsewhere...)
	_, err = l.machine().Seal(context.Background(), &sidero.Request{NodeUuid: box, Data: diskKey})
	l.wantRefusal("the machine's own networks", err)
}

// What is bound to an address opens from there only, and a machine that
// asks from two is said to be two.
func TestTalosAddress(t *testing.T) {
	l := &talosLab{fixture: newKMS(t), proxies: proxies{Proxies: here4, ProxyProtocol: true}}
	l.listen(nil)
	l.SetTalos(server.TalosOptions{BindAddress: true})
	l.do("approve", box)
	here, there := l.from("192.0.2.1"), l.from("192.0.2.2")
	bound := l.seal(here, box)
	l.wantKey(here, box, bound)
	_, err := unseal(there, box, bound)
	l.wantRefusal("another address", err)
	l.SetTalos(server.TalosOptions{})
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
	l := newTalos(t, server.TalosOptions{Noise: true, Enroll: server.Closed}, func(f *fixture) {
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
	l := newTalos(t, server.TalosOptions{})
	l.do("approve", box)
	m := l.machine()
	old := l.seal(m, box)
	if _, err := l.RetireKey(ctx, "talos", 1); err == nil {
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
	if _, err := l.RetireKey(ctx, "talos", 1); err != nil {
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
	l := newTalos(t, server.TalosOptions{})
	l.do("approve", box)
	m := l.machine()
	blob := l.seal(m, box)
	for i := range 1100 {
		u := kms.UUID{1, byte(i >> 8), byte(i)}
		if _, err := unseal(m, u.String(), blob); err == nil {
			t.Fatal("an unknown machine was served")
		}
	}
	if nodes, err := l.TalosNodes(); err != nil || len(nodes) != 1001 {
		t.Errorf("%d rows, %v, want 1,000 that are pending and one", len(nodes), err)
	}
	l.wantKey(m, box, blob)
}
