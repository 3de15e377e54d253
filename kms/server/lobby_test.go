package server_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
	"latchkey/kms/softtpm"
)

// refusalOf asks, and returns the refusal.
func (f *fixture) refusalOf(p kms.Prover, uuids ...kms.UUID) *kms.Error {
	f.t.Helper()
	_, err := f.get(p, uuids...)
	refused, ok := errors.AsType[*kms.Error](err)
	if !ok {
		f.t.Fatalf("Get = %v, want a refusal", err)
	}
	return refused
}

// A heardAt is when a machine that waits was told to ask again; or the code
// of why it was not.
type heardAt struct {
	after time.Duration
	code  string
}

func (f *fixture) waitFor(cookie []byte) <-chan heardAt {
	heard, began := make(chan heardAt, 1), time.Now()
	go func() {
		err := f.client().Wait(ctx, f.url, cookie)
		heard <- heardAt{time.Since(began), code(err)}
	}()
	return heard
}

// D81: a machine that waits hears at once that something was done for it, and
// for nothing else.
func TestWait(t *testing.T) {
	const later = 7 * time.Second
	silence := heardAt{after: -1}
	approve := func(f *fixture, n *softtpm.TPM) { f.approve(n, root) }
	for _, row := range []struct {
		name string
		do   func(f *fixture, node *softtpm.TPM)
		want heardAt
	}{
		{"it is approved", approve, heardAt{later, ""}},
		{"something is pushed to it", func(f *fixture, n *softtpm.TPM) {
			if err := f.push(n); err != nil {
				f.t.Fatal(err)
			}
		}, heardAt{later, ""}},
		{"another machine is approved", func(f *fixture, _ *softtpm.TPM) {
			other := f.waits()
			f.approve(other, data)
		}, silence},
		{"it asks again itself", func(f *fixture, n *softtpm.TPM) { f.refusalOf(n) }, silence},
		{"nothing", func(*fixture, *softtpm.TPM) {}, silence},
		{"a checkpoint is made", func(f *fixture, _ *softtpm.TPM) {
			if err := f.Update(ctx, func(t *ledger.Txn) error { return t.Note(ledger.Event{Event: "audit seal"}) }); err != nil {
				f.t.Fatal(err)
			}
		}, silence},
		{"the server ends", func(f *fixture, _ *softtpm.TPM) { f.EndWatches() }, heardAt{later, kms.CodeUnreachable}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newKMS(t, inMemory)
				if err := f.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
					t.Fatal(err)
				}
				node := newTPM(t)
				heard := f.waitFor(f.refusalOf(node).Cookie)
				time.Sleep(later)
				row.do(f, node)
				got := <-heard
				if got.after > kms.MaxWait*3/4 && got.after < kms.MaxWait {
					got.after = silence.after // it is told to ask again in any case
				}
				if got != row.want {
					t.Errorf("the machine heard %+v, want %+v", got, row.want)
				}
			})
		})
	}
}

// What was done between the refusal and the wait is told at once.
func TestWaitForWhatWasDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		if err := f.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
			t.Fatal(err)
		}
		node := newTPM(t)
		refused := f.refusalOf(node)
		if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words(), Volumes: []kms.UUID{root}}); err != nil {
			t.Fatal(err)
		}
		if got := <-f.waitFor(refused.Cookie); got != (heardAt{}) {
			t.Errorf("the machine heard %+v, want that it asks at once", got)
		}
		f.mustGet(node)
	})
}

// A machine that waits for a volume hears of that volume.
func TestWaitForVolume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.approved()
		third := kms.UUID{3}
		g, err := f.get(node, root, third)
		if err != nil || g.Volumes[1].Status == kms.OK {
			t.Fatalf("Get = %+v, %v, want that the second volume is refused", g, err)
		}
		heard := f.waitFor(g.WaitCookie())
		time.Sleep(time.Second)
		if err := f.PutVolume(ctx, data, secret.Own([]byte(canary))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case got := <-heard:
			t.Fatalf("the machine heard %+v of another volume", got)
		default:
		}
		if err := f.PutVolume(ctx, third, secret.Own([]byte(canary))); err != nil {
			t.Fatal(err)
		}
		if got := <-heard; got != (heardAt{time.Second, ""}) {
			t.Errorf("the machine heard %+v, want that it asks", got)
		}
	})
}

// Without a cookie of ours nobody waits.
func TestWaitForged(t *testing.T) {
	f := newKMS(t)
	node := f.waits()
	refused := f.refusalOf(node)
	for name, cookie := range map[string][]byte{
		"none": {}, "another": bytes.Repeat([]byte{7}, len(refused.Cookie)), "changed": append(bytes.Clone(refused.Cookie[:9]), make([]byte, len(refused.Cookie)-9)...),
	} {
		if err := f.client().Wait(ctx, f.url, cookie); code(err) != kms.CodeNoGrant {
			t.Errorf("cookie %s: %v, want code %s", name, err, kms.CodeNoGrant)
		}
	}
}

// D82: those that wait take no place of those that ask, and have a limit.
func TestWaitLimit(t *testing.T) {
	const most = 16 // of one address
	f := newKMS(t)
	node := f.waits()
	refused := f.refusalOf(node)
	heard := make(chan error, most+1)
	for range most + 1 {
		go func() { heard <- f.client().Wait(ctx, f.url, refused.Cookie) }()
	}
	if err := <-heard; code(err) != kms.CodeBusy {
		t.Fatalf("one of %d that wait = %v, want code %s", most+1, err, kms.CodeBusy)
	}
	f.refusalOf(node) // who asks has a place
	f.approve(node, root)
	for range most {
		if err := <-heard; err != nil {
			t.Errorf("one that waited heard %v", err)
		}
	}
}

// What is decided for all is told to all, within half a minute and not at one
// moment; and one that was refused for a time is not kept for longer.
func TestWaitForAll(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(f *fixture)
	}{
		{"the policy's file is read again", func(f *fixture) { f.SetPolicy(f.Rules()) }},
		{"a release", func(f *fixture) {
			if err := f.Update(ctx, func(t *ledger.Txn) error { return t.Note(ledger.Event{Event: "release roll"}) }); err != nil {
				f.t.Fatal(err)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newKMS(t, inMemory)
				var all []<-chan heardAt
				for range 8 {
					all = append(all, f.waitFor(f.refusalOf(newTPM(t)).Cookie))
				}
				time.Sleep(time.Second)
				row.do(f)
				times := map[time.Duration]bool{}
				for _, heard := range all {
					got := <-heard
					if times[got.after] = true; got.code != "" || got.after > 33*time.Second {
						t.Errorf("a machine heard %+v", got)
					}
				}
				if len(times) < 3 {
					t.Errorf("eight machines asked at %d moments", len(times))
				}
			})
		})
	}
}

// A message that does not come is no message that is too large.
func TestSlowMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		for _, path := range []string{kms.WaitPath, kms.ChallengePath} {
			for head, want := range map[string]string{"100": " 408 ", "999999": " 413 "} {
				c, err := f.pipe.dial(ctx, "", "")
				if err != nil {
					t.Fatal(err)
				}
				go func() {
					io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: kms\r\nContent-Length: "+head+"\r\n\r\n")
					if want == " 413 " {
						c.Write(make([]byte, 70<<10)) // the server reads as much as it takes, and no more
					}
				}()
				line, err := bufio.NewReader(c).ReadString('\n')
				if err != nil || !strings.Contains(line, want) {
					t.Errorf("%s, %s bytes: %q, %v; want%s", path, head, line, err, want)
				}
				c.Close()
			}
		}
		time.Sleep(time.Second) // net/http waits before it closes
	})
}
