package server_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	taloskeeper "latchkey/kms/server/talos/keeper"

	sidero "github.com/siderolabs/kms-client/api/kms"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/server"
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

type proxies = front.Options

func newTalos(t *testing.T, o taloskeeper.Options, options ...option) *talosLab {
	t.Helper()
	l := &talosLab{fixture: newKMS(t, options...)}
	l.Talos.SetOptions(o)
	l.listen(nil)
	return l
}

func (l *talosLab) listen(creds credentials.TransportCredentials) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	g := server.NewTalos(l.Server, creds)
	go g.Serve(front.Door(inner, l.proxies))
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
	if _, err := l.Talos.Change(context.Background(), command, u, sources); err != nil {
		l.t.Fatal(err)
	}
}

// A machine is unknown, approved, served, stopped, readmitted, deleted; the
// log tells it.
//
// compatible: Kairos, Talos, Kubernetes | Sidero's kms-client | machines of Talos are served, stopped and readmitted
func TestTalosLife(t *testing.T) {
	l := newTalos(t, taloskeeper.Options{})
	m := l.machine()
	for range 3 {
		_, err := m.Seal(context.Background(), &sidero.Request{NodeUuid: box, Data: diskKey})
		l.wantRefusal("unknown", err)
	}

	if nodes, err := l.Talos.Nodes(); err != nil || len(nodes) != 1 || nodes[0].Describe() != "pending" || nodes[0].From.String() != "127.0.0.1" {
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
	l := newTalos(t, taloskeeper.Options{})
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
		{"another format", box, flip(0)},
		{"another flag", box, flip(1)},
		{"another version", box, flip(5)},
		{"another nonce", box, flip(6)},
		{"an edited blob", box, flip(len(blob) - 1)},
		{"a short blob", box, blob[:len(blob)-1]},
		{"a long blob", box, append(bytes.Clone(blob), 0)},
		{"nothing", box, nil},
		{"5 KiB", box, make([]byte, 5<<10)},
		{"an unknown machine", "4c4c4544-0042-3510-8052-b4c04f4d3634", blob},
		{"no UUID", "", blob},
		{"upper case", strings.ToUpper(box), blob},
		{"half a UUID", box[:18], blob},
		{"a UUID of zeros", "00000000-0000-0000-0000-000000000000", blob},
		{"of ones", "ffffffff-ffff-ffff-ffff-ffffffffffff", blob},
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
	l := newTalos(t, taloskeeper.Options{})
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
