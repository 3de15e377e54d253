package server_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"

	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/lk1"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/server"
	"latchkey/kms/server/ekcert"
	"latchkey/kms/server/site"
	"latchkey/kms/softtpm"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

var (
	root = kms.UUID{1}
	data = kms.UUID{2}
)

// canary is the secret that must not be seen where it should not.
const canary = "canary-passphrase-of-the-root-volume"

// A fixture is a whole KMS on loopback whose parts a test can reach.
type fixture struct {
	t        testing.TB
	dir      string
	wrapping secret.Bytes
	enroll   fleet.Enrollment
	workers  int
	machines int       // that the store is for; 0: any number
	center   site.Dial // of a site's server
	ekRoots  *ekcert.Pool
	wrap     func(store.Store) store.Store // what stands between server and database

	protocols []server.Protocol

	strictClock bool
	front       front.Options

	*server.Server
	url  string
	web  *front.Front
	pipe *pipes // instead of loopback, for tests whose time is not the clock's
}

type option func(*fixture)

func closed(f *fixture) { f.enroll = fleet.Closed }

// inMemory serves through pipes.
func inMemory(f *fixture) { f.pipe = newPipes() }

func newKMS(t testing.TB, options ...option) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), wrapping: secret.Random(32), enroll: fleet.Approve}
	for _, o := range options {
		o(f)
	}
	db, err := bolt.Open(f.path(), true, server.Tables())
	if err != nil {
		t.Fatal(err)
	}

	if _, err := ledger.Initialize(context.Background(), db, f.wrapping, f.mark()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	if err := f.start(); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) path() string          { return filepath.Join(f.dir, "kms.db") }
func (f *fixture) mark() ledger.MarkFile { return ledger.MarkFile(filepath.Join(f.dir, "epoch")) }

// again gets the wrapping key once more.
func (f *fixture) again(context.Context) (secret.Bytes, error) { return f.wrapping.Clone(), nil }

// start opens the database and serves it.
func (f *fixture) start() error {
	db, err := bolt.Open(f.path(), false, server.Tables())
	if err != nil {
		return err
	}
	var st store.Store = db
	if f.wrap != nil {
		st = f.wrap(db)
	}
	return f.serve(st, false)
}

// serve serves an open database, which it closes if it cannot.
func (f *fixture) serve(st store.Store, shared bool) error {
	s, err := server.Open(server.Config{Store: st, Shared: shared, Wrapping: f.wrapping, Again: f.again, Mark: f.mark(), Enroll: f.enroll, Workers: f.workers, EKRoots: f.ekRoots, Protocols: f.protocols, StrictClock: f.strictClock, MaxMachines: f.machines, Center: f.center})
	if err != nil {
		st.Close()
		return err
	}

	if err := s.Begin(context.Background()); err != nil {
		f.t.Fatal(err)
	}
	var l net.Listener = f.pipe
	if f.pipe == nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			f.t.Fatal(err)
		}
	}

	web := server.NewFront(s, l, f.protocols, f.front, discard)
	go web.Serve()
	f.web = web
	f.Server, f.url = s, "http://"+l.Addr().String()
	f.t.Cleanup(func() {
		web.Close()
		s.Close()
	})

	return nil
}

func (f *fixture) client() *kms.Client {
	c := &kms.Client{Pins: f.Pins()}
	if f.pipe != nil {
		c.Dial = f.pipe.dial
	}
	return c
}

func (f *fixture) get(p kms.Prover, uuids ...kms.UUID) (*kms.Grant, error) {
	return f.client().Get(context.Background(), f.url, p, wants(uuids...))
}

func wants(uuids ...kms.UUID) (w []kms.Want) {
	if len(uuids) == 0 {
		uuids = []kms.UUID{root}
	}
	for _, u := range uuids {
		w = append(w, kms.Want{UUID: u, Digest: [32]byte{u[0]}, SeqID: 3})
	}
	return w
}

// approved is a node that owns the root volume, whose secret is the canary.
func (f *fixture) approved() *softtpm.TPM {
	f.t.Helper()
	if err := f.PutVolume(context.Background(), root, secret.Own([]byte(canary))); err != nil {
		f.t.Fatal(err)
	}
	tpm := newTPM(f.t)
	f.approve(tpm, root)
	return tpm
}

func (f *fixture) approve(tpm *softtpm.TPM, uuids ...kms.UUID) lk1.Approved {
	f.t.Helper()
	if _, err := f.get(tpm, uuids...); code(err) != "pending" {
		f.t.Fatalf("Get before approval = %v, want code pending", err)
	}
	looked, err := f.Node(tpm.NodeID().Words())
	if err != nil {
		f.t.Fatal(err)
	}
	out, err := f.ApproveNode(context.Background(), lk1.Approval{Who: tpm.NodeID().Words(), Seen: looked.Seen})
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

func newTPM(t testing.TB) *softtpm.TPM {
	t.Helper()
	tpm, err := softtpm.New()
	if err != nil {
		t.Fatal(err)
	}
	return tpm
}

// mustGet gets the root volume's secret.
func (f *fixture) mustGet(p kms.Prover) {
	f.t.Helper()
	g, err := f.get(p)
	if err != nil {
		f.t.Fatal(err)
	}
	if v := g.Volumes[0]; v.Status != kms.OK || string(v.Active.Secret.Reveal()) != canary {
		f.t.Fatalf("Get = %v, want the canary", v)
	}
}

func code(err error) string {
	if coded, ok := errors.AsType[interface {
		error
		Code() string
	}](err); ok {
		return coded.Code()
	}
	return ""
}
