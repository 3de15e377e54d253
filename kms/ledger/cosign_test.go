package ledger_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"latchkey/kms/history"
	"latchkey/kms/history/witness"
	"latchkey/kms/history/witnesstest"
	"latchkey/kms/ledger"
)

// A pair is a KMS and its witness.
type pair struct {
	*past
	origin string
	w      *witnesstest.Witness
	asked  witness.Witness
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := newPast(t)
	logs, err := p.Logs()
	if err != nil {
		t.Fatal(err)
	}
	origin, _, _ := strings.Cut(logs[0].Key, "+")
	w := witnesstest.Start(t, logs[0].Key)
	key, err := history.ParseWitnessKey(w.VKey)
	if err != nil {
		t.Fatal(err)
	}
	asked := witness.Witness{URL: w.URL + "/", Key: key, Client: http.DefaultClient}
	return &pair{p, origin, w, asked}
}

func (p *pair) cosign(name string, want int, size int64) {
	p.t.Helper()
	n, err := p.Cosign(p.t.Context(), p.asked)
	if err != nil || n != want || p.w.Seen(p.origin) != size {
		p.t.Fatalf("%s: Cosign = %d, %v, and the witness has seen %d; want %d and %d", name, n, err, p.w.Seen(p.origin), want, size)
	}
}

// tree is that of the first events.
func (p *pair) tree(size uint64) tlog.Tree {
	var tree history.Tree
	for _, s := range p.segments() {
		p.Segment("", s.Number, func(event []byte) error {
			if tree.Size() < size {
				tree.Add(event)
			}
			return nil
		})
	}
	return tlog.Tree{N: int64(size), Hash: tree.Root()}
}

// A witness cosigns what it sees to grow, and its line stays with the
// checkpoint.
func TestCosign(t *testing.T) {
	p := newPair(t)
	p.cosign("nothing sealed", 0, 0)
	p.note(13)
	p.seal(0, 2)
	p.cosign("the first time", 1, 13)
	asks := p.w.Asks()
	p.cosign("the same again", 0, 13)
	if p.w.Asks() != asks {
		t.Error("the witness was asked for what it has cosigned")
	}
	p.note(30)
	p.seal(time.Hour, 3)
	p.cosign("grown by three segments", 1, 43)
	s := p.segments()[4]
	if _, at, err := p.asked.Cosigned(s.Checkpoint, s.Checkpoint); err != nil || time.Since(at) > time.Minute {
		t.Errorf("the checkpoint is cosigned at %v: %v", at, err)
	}
	if err := p.Update(t.Context(), func(*ledger.Txn) error { return nil }); err != nil {
		t.Fatal(err)
	}
	p.sound("cosigned", 43)
}

// A witness may know less than we think, or stand between two of our
// checkpoints. What it has seen and we have lost is a fork.
func TestCosignAfterWitnessWasPutBack(t *testing.T) {
	p := newPair(t)
	p.note(13)
	p.seal(0, 2)
	p.note(30)
	p.seal(time.Hour, 3)
	p.cosign("the first time", 1, 43)
	for _, size := range []uint64{0, 10, 17} {
		p.note(10)
		sealed := p.seal(time.Hour, 1)
		p.w.Forget(p.origin, p.tree(size))
		p.cosign("after the witness was put back", 1, int64(sealed[0].End))
	}

	p.note(10)
	p.seal(time.Hour, 1)
	p.w.Forget(p.origin, tlog.Tree{N: 1000})
	_, err := p.Cosign(t.Context(), p.asked)
	if !errors.Is(err, ledger.ErrAhead) {
		t.Errorf("Cosign of a log that was put back = %v, want %v", err, ledger.ErrAhead)
	}
	p.w.Forget(p.origin, p.tree(13))
	p.prune(ledger.Keep{For: 1}, 9)
	_, err = p.Cosign(t.Context(), p.asked)
	if !errors.Is(err, history.ErrRemoved) {
		t.Errorf("Cosign from what was removed on = %v, want %v", err, history.ErrRemoved)
	}
}
