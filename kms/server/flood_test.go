package server_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms"
)

// D7: made-up TPMs fill neither the table nor the log beyond their bounds,
// and keep nobody from their keys.
func TestEnrollmentFlood(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	before := len(f.log())
	var codes sync.Map
	var group sync.WaitGroup
	var next atomic.Int64

	for range 8 { // half of what one address may have open at once
		group.Go(func() {
			for next.Add(1) <= 1100 {
				_, err := f.get(newTPM(t))
				n, _ := codes.LoadOrStore(code(err), new(atomic.Int64))
				n.(*atomic.Int64).Add(1)
			}
		})
	}

	group.Wait()
	count := func(code string) int64 {
		n, ok := codes.Load(code)
		if !ok {
			return 0
		}
		return n.(*atomic.Int64).Load()
	}
	if count("pending") != 250 || count("pending-full") != 850 { // one source has a quarter of the table
		t.Errorf("%d pending and %d pending-full, want 250 and 850", count("pending"), count("pending-full"))
	}

	if n := len(f.log()) - before; n > 1000 {
		t.Errorf("1,100 strangers left %d events in the log", n)
	}
	f.mustGet(node)
}

// Pending rows end after a day, and earlier when the table is full and they
// stopped asking.
func TestPendingRowsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		stale := newTPM(t)
		f.mustPend(stale)
		time.Sleep(23 * time.Hour)
		f.mustPend(newTPM(t))
		if n := f.count(); n != 2 {
			t.Errorf("%d rows after 23 hours, want 2", n)
		}

		time.Sleep(2 * time.Hour)
		f.mustPend(newTPM(t))
		if n := f.count(); n != 2 {
			t.Errorf("%d rows after 25 hours, want 2: the first one is over", n)
		}
		if _, err := f.Node(stale.NodeID().String()); err == nil {
			t.Error("a row that is over its day is still there")
		}
	})
}

func (f *fixture) mustPend(p kms.Prover) {
	f.t.Helper()
	if _, err := f.get(p); code(err) != "pending" {
		f.t.Fatalf("Get = %v, want code pending", err)
	}
}

func (f *fixture) count() int {
	f.t.Helper()
	nodes, err := f.Nodes()
	if err != nil {
		f.t.Fatal(err)
	}
	return len(nodes)
}

// A cookie lives for 30 seconds, a report's for 10 minutes, whatever the
// wall clock says.
func TestCookiesExpire(t *testing.T) {
	for _, row := range []struct {
		name string
		wait time.Duration
		want string
	}{{"in time", 29 * time.Second, ""}, {"late", 31 * time.Second, kms.CodeNoGrant}} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newKMS(t, inMemory)
				node := f.approved()
				slow := forger{TPM: node, quote: func(pcrs []int, extra []byte) (kms.Quote, error) {
					time.Sleep(row.wait)
					return node.Quote(ctx, pcrs, extra)
				}}
				if _, err := f.get(slow); code(err) != row.want {
					t.Errorf("Get = %v, want code %q", err, row.want)
				}
			})
		})
	}
}

func TestReportCookieExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.approved()
		g, err := f.get(node)
		if err != nil {
			t.Fatal(err)
		}

		results := []kms.Result{{UUID: root, Outcome: kms.OpenedActive, MAC: make([]byte, 32)}}
		time.Sleep(9 * time.Minute)
		if err := f.client().Report(ctx, f.url, g, results); err != nil {
			t.Errorf("Report after 9 minutes = %v", err)
		}
		time.Sleep(2 * time.Minute)
		if err := f.client().Report(ctx, f.url, g, results); code(err) != kms.CodeNoGrant {
			t.Errorf("Report after 11 minutes = %v, want code %s", err, kms.CodeNoGrant)
		}
	})
}

// D7: of more work than can be done in time, some is done and the rest put
// off; TestWorkers counts how much.
func TestWorkIsBounded(t *testing.T) {
	f := newKMS(t, func(f *fixture) { f.workers = 1 })
	m1, h := helloOf(t, f), f.Handler()
	const asked = 4000
	var done, put atomic.Int64
	var group sync.WaitGroup
	start := make(chan struct{})
	for range asked {
		group.Go(func() {
			<-start
			switch status, _ := post(h, kms.ChallengePath, m1); status {
			case http.StatusOK:
				done.Add(1)
			case http.StatusServiceUnavailable:
				put.Add(1)
			}
		})
	}

	close(start)
	group.Wait()
	if done.Load()+put.Load() != asked || put.Load() == 0 || done.Load() == 0 {
		t.Errorf("%d of %d were done and %d put off, want some of both and no other answer", done.Load(), asked, put.Load())
	}
}

// D7: 2,000 connections that never send a whole request, from the very
// address of a good node.
func TestHalfOpenConnections(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			c.Close()
		}
	}()

	for i := range 2000 {
		c, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		idle = append(idle, c)
		io.WriteString(c, "POST /lk1/challenge HTTP/1.1\r\nHost: kms\r\nContent-Length: 9")
	}

	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	g, err := f.client().Get(short, f.url, node, wants())
	if err != nil || g.Volumes[0].Status != kms.OK {
		t.Errorf("Get beside 2,000 half-open connections = %v", err)
	}
}

// D7: a body over 64 KiB is refused, not read.
func TestHugeBody(t *testing.T) {
	f := newKMS(t)
	c, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "POST /lk1/challenge HTTP/1.1\r\nHost: kms\r\nContent-Length: 104857600\r\n\r\n")
	io.CopyN(c, zeros{}, 128<<10)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body of 100 MiB got %v, %v, want status 413", r, err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// What a message is not, it is not by one answer.
func TestMalformedMessages(t *testing.T) {
	f := newKMS(t)
	for _, path := range []string{kms.ChallengePath, kms.RedeemPath, kms.ReportPath} {
		for _, body := range []string{"", "\x00", strings.Repeat("\xff", 300)} {
			if status, answer := post(f.Handler(), path, []byte(body)); status != http.StatusForbidden || len(answer) != 0 {
				t.Errorf("%s with %d bytes of nonsense: status %d and %d bytes, want 403 and none", path, len(body), status, len(answer))
			}
		}
	}
	if status, _ := get(f.Handler(), kms.ChallengePath); status != http.StatusMethodNotAllowed {
		t.Errorf("GET = %d, want 405", status)
	}
}
