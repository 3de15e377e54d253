package server_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"syscall"
	"testing"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/presence"
	"latchkey/kms/softtpm"
)

// BenchmarkBeat is one beat in the handler, without the network: at 10,000
// machines a minute has so many.
func BenchmarkBeat(b *testing.B) {
	f := newKMS(b)
	node := &beater{&softtpm.Beater{TPM: f.approved()}, f, nil}
	f.set(node.TPM, policy.Settings{Presence: ptr(policy.Duration(10 * time.Minute))})
	node.register("")
	w := f.through(&wire{})
	var said []byte
	w.request = func(path string, body []byte) []byte {
		if path == kms.BeatPath {
			said = body
		}
		return body
	}
	if err := f.client().Beat(ctx, f.url, node, node.beats); err != nil {
		b.Fatal(err)
	}
	h := f.Handler()
	before := processor(b)
	for b.Loop() {
		if status, _ := post(h, kms.BeatPath, said); status != http.StatusOK {
			b.Fatalf("status %d", status)
		}
	}
	perBeat := (processor(b) - before) / time.Duration(b.N)
	b.ReportMetric(float64(len(said)), "B/beat")
	b.ReportMetric(100*float64(perBeat)*10_000/float64(time.Minute), "%core/10000")
}

// BenchmarkLook is a look at 10,000 machines, with all of them to be written,
// as there is one every two and a half minutes with presence: 10m.
func BenchmarkLook(b *testing.B) {
	f := newKMS(b)
	f.SetPolicy(&policy.Policy{Defaults: policy.Settings{Presence: ptr(policy.Duration(10 * time.Minute))}})
	const machines = 10_000
	ids := make([]kms.NodeID, machines)
	for i := range ids {
		rand.Read(ids[i][:])
		if _, err := f.ApproveNode(ctx, lk1.Approval{Who: ids[i].String(), NoPCRs: true}); err != nil {
			b.Fatal(err)
		}
	}
	book := presence.NewBook()
	before := processor(b)
	for b.Loop() {
		for _, id := range ids {
			book.Saw(id, presence.Sight{At: time.Now()})
		}
		err := book.Write(func(do func(*ledger.Txn) error) error { return f.Update(context.Background(), do) }, time.Now(), time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := f.LookForPresence(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*float64((processor(b)-before)/time.Duration(b.N))/float64(150*time.Second), "%core")
}

// processor is how long this process has computed, on all cores.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
