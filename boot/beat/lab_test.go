package beat_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/boot/beat"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/server/lk1"
	"latchkey/kms/softtpm"
	"latchkey/kms/store/bolt"
)

var ctx = context.Background()

// A lab is a machine and a whole key server, in memory.
type lab struct {
	*beat.Machine
	kms *server.Server
	t   *testing.T
	tpm *softtpm.Beater
	log bytes.Buffer

	mu     sync.Mutex
	conns  chan net.Conn
	away   bool
	dials  int
	fails  error // what the TPM says
	opened int   // TPMs, less those that were closed
	aside  []string
	rogue  bool // another key server is found first
}

func newLab(t *testing.T) *lab {
	t.Helper()
	soft, err := softtpm.New()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, tpm: &softtpm.Beater{TPM: soft}}
	l.kms = l.newServer()
	l.Machine = &beat.Machine{
		Pins: l.kms.Pins(), Wants: []kms.Want{{UUID: kms.UUID{1}}}, Servers: l, Open: l.open, Every: time.Minute, Jitter: func() float64 { return 0.5 },
		Log: slog.New(slog.NewTextHandler(&l.log, nil)),
	}
	return l
}

// newServer answers from now on.
func (l *lab) newServer() *server.Server {
	l.t.Helper()
	dir := l.t.TempDir()
	db, err := bolt.Open(filepath.Join(dir, "kms.db"), true, server.Tables())
	if err != nil {
		l.t.Fatal(err)
	}
	wrapping, mark := secret.Random(32), ledger.MarkFile(filepath.Join(dir, "epoch"))
	if _, err := ledger.Initialize(ctx, db, wrapping, mark); err != nil {
		l.t.Fatal(err)
	}
	s, err := server.Open(server.Config{Store: db, Wrapping: wrapping, Mark: mark})
	if err != nil {
		l.t.Fatal(err)
	}
	conns := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	web := server.NewFront(s, conns, nil, front.Options{}, slog.New(slog.DiscardHandler))
	go web.Serve()
	l.conns = conns.conns
	l.t.Cleanup(func() { web.Close(); s.Close() })
	return s
}

// approve approves the machine.
func (l *lab) approve() {
	l.t.Helper()
	client := &kms.Client{Pins: l.kms.Pins(), Dial: l.dial}
	_, err := client.Get(ctx, "http://kms.local", l.tpm, []kms.Want{{UUID: kms.UUID{1}}})
	if coded, ok := errors.AsType[*kms.Error](err); !ok || coded.Code() != "pending" {
		l.t.Fatalf("Get = %v, want pending", err)
	}
	if _, err := l.kms.ApproveNode(ctx, lk1.Approval{Who: l.tpm.NodeID().Words()}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	l.mu.Lock()
	l.dials++
	away, conns := l.away, l.conns
	l.mu.Unlock()
	if away {
		return nil, errors.New("no route to host")
	}
	ours, theirs := net.Pipe()
	select {
	case conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Next implements beat.Servers.
func (l *lab) Next(context.Context) (beat.Server, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rogue && len(l.aside) == 0 {
		return beat.Server{URL: "http://rogue.local", Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				theirs.Read(make([]byte, 4096))
				theirs.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
			}()
			return ours, nil
		}}, nil
	}
	return beat.Server{URL: "http://kms.local", Dial: l.dial}, nil
}

// SetAside implements beat.Servers.
func (l *lab) SetAside(s beat.Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.aside = append(l.aside, s.URL)
}

// set changes something while the machine runs.
func (l *lab) set(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
}

// key is the TPM, opened.
type key struct {
	*softtpm.Beater
	l *lab
}

func (l *lab) open(context.Context) (beat.Key, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails != nil {
		return nil, l.fails
	}
	l.opened++
	return key{l.tpm, l}, nil
}

func (k key) SignBeat(ctx context.Context, digest [32]byte) ([kms.BeatSignature]byte, error) {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	if k.l.fails != nil {
		return [kms.BeatSignature]byte{}, k.l.fails
	}
	return k.Beater.SignBeat(ctx, digest)
}

func (k key) Close() { k.l.set(func() { k.l.opened-- }) }

// run runs the machine while do looks at it.
func (l *lab) run(do func()) {
	l.t.Helper()
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	do()
	stop()
	<-done
	if l.opened != 0 {
		l.t.Errorf("%d TPMs are open at the end", l.opened)
	}
}

// mustSee: the machine was seen within a time before now.
func (l *lab) mustSee(within time.Duration) {
	l.t.Helper()
	n, err := l.kms.Node(l.tpm.NodeID().String())
	if ago := time.Since(n.Beat); err != nil || ago > within {
		l.t.Errorf("it was seen %s ago (%v), want %s at most", ago, err, within)
	}
}

// took is how often the machine connected while do ran.
func (l *lab) took(do func()) int {
	before := 0
	l.set(func() { before = l.dials })
	do()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dials - before
}

// said are the lines of the log that have a text in them.
func (l *lab) said(text string) int { return strings.Count(l.log.String(), text) }

// pipes is a network in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7741} }
