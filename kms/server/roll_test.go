package server_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/server/policy"
	"latchkey/kms/server/release"
	"latchkey/kms/softtpm"
)

// A berlin is the machines of one site.
type berlin struct {
	*fixture
	nodes []*softtpm.TPM // in the order in which they may boot 2026.12
}

func newBerlin(t *testing.T, n int) *berlin {
	f := newKMS(t, inMemory)
	b := &berlin{fixture: f}
	f.build("2026.11", 11)
	for range n {
		node := newTPM(t)
		f.approve(node)
		if _, err := f.SetNode(ctx, node.NodeID().String(), policy.Change{Labels: map[string]string{"site": "berlin"}}); err != nil {
			t.Fatal(err)
		}
		b.nodes = append(b.nodes, node)
	}
	slices.SortFunc(b.nodes, func(x, y *softtpm.TPM) int {
		idx, idy := x.NodeID(), y.NodeID()
		if release.Place("2026.12", idx[:]) < release.Place("2026.12", idy[:]) {
			return -1
		}
		return 1
	})
	f.build("2026.12", 12)
	return b
}

func (b *berlin) roll(o release.Options) {
	b.t.Helper()
	o.Group, o.Within = "site=berlin", policy.Duration(2*time.Hour)
	if _, err := b.RollRelease(ctx, "2026.12", o); err != nil {
		b.t.Fatal(err)
	}
}

// logged counts an event of the audit log.
func (b *berlin) logged(event string) (n int) {
	for _, e := range b.log() {
		if e.Event == event {
			n++
		}
	}
	return n
}

func (b *berlin) progress() string {
	b.t.Helper()
	r, err := b.Release("2026.12")
	if err != nil || len(r.Progress) != 1 {
		b.t.Fatalf("Release = %+v, %v", r, err)
	}
	return r.Progress[0]
}

func (b *berlin) mustBe(want string) {
	b.t.Helper()
	if got := b.progress(); !strings.Contains(got, want) {
		b.t.Errorf("the roll is %q, want %q", got, want)
	}
}

// From the canary to all, wave by wave; then the old release is retired.
func TestRollGoesThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBerlin(t, 8)
		b.booted(b.nodes[0], 12, "pcr-mismatch") // nobody may yet
		b.roll(release.Options{Canary: 10, Failures: 10, Retire: "2026.11"})
		b.booted(b.nodes[1], 12, "pcr-mismatch")
		b.booted(b.nodes[1], 11, "")
		b.booted(b.nodes[0], 12, "")
		b.mustBe("rolling, wave 2 of 3, 1 of 4 machines came back")
		b.booted(b.nodes[4], 12, "pcr-mismatch")
		for _, n := range b.nodes[1:4] {
			b.booted(n, 12, "")
			b.booted(n, 12, "") // again is nothing new
		}
		b.mustBe("rolling, wave 3 of 3, 4 of 8 machines came back")
		for _, n := range b.nodes[4:7] {
			b.booted(n, 12, "")
		}
		b.mustBe("rolling, wave 3 of 3, 7 of 8")
		b.booted(b.nodes[7], 12, "")
		b.mustBe("done, wave 3 of 3, 8 of 8")
		b.booted(b.nodes[7], 11, "pcr-mismatch")
		if r, err := b.Release("2026.11"); err != nil || r.Retired.IsZero() {
			t.Errorf("2026.11 = %+v, %v, want it retired", r, err)
		}
		for _, event := range []string{"release roll", "release wave", "release came", "release done", "release retire"} {
			if b.logged(event) == 0 {
				t.Errorf("the log has no event %q", event)
			}
		}
	})
}

// A canary that boots and does not open its volumes, or goes back, stops the
// roll; those that booted the release may go on to.
func TestRollStopsByItself(t *testing.T) {
	for name, fails := range map[string]func(*berlin, *softtpm.TPM){
		"boots again and again": func(b *berlin, n *softtpm.TPM) {
			for range 2 {
				boots(n, [32]byte{12})
				if _, err := b.get(n); err != nil {
					b.t.Fatal(err)
				}
			}
		},
		"goes back": func(b *berlin, n *softtpm.TPM) {
			b.booted(n, 12, "")
			b.booted(n, 11, "")
		},
		"does not come": func(b *berlin, n *softtpm.TPM) {
			boots(n, [32]byte{12})
			if _, err := b.get(n); err != nil {
				b.t.Fatal(err)
			}
			time.Sleep(2 * time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBerlin(t, 6)
				b.roll(release.Options{Canary: 34, Failures: 10}) // three
				b.booted(b.nodes[1], 12, "")
				fails(b, b.nodes[0])
				b.mustBe("stopped")
				b.booted(b.nodes[2], 12, "pcr-mismatch")
				b.booted(b.nodes[2], 11, "")
				b.booted(b.nodes[1], 12, "")
				if b.logged("release stopped") != 1 {
					t.Error("the log does not say that it stopped, once")
				}

				if _, err := b.ResumeRoll(ctx, "2026.12", "site=berlin"); err != nil {
					t.Fatal(err)
				}
				b.booted(b.nodes[2], 12, "")
			})
		})
	}
}

// A roll whose machines do not come back stops when its time is up, though
// nobody asks anything; until then nothing is written.
func TestRollStopsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBerlin(t, 6)
		b.roll(release.Options{Canary: 34, Failures: 10})
		b.booted(b.nodes[0], 12, "")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			b.WatchRolls(ctx)
		}()
		before := len(b.log())

		time.Sleep(2*time.Hour - time.Minute)
		synctest.Wait()
		if n := len(b.log()); n != before {
			t.Errorf("within the wave's time %d events were logged", n-before)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if b.logged("release stopped") != 1 {
			t.Error("after the wave's time the log does not say that the roll stopped, once")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(b.log()); n != before+1 {
			t.Errorf("%d events were logged, want the one that it stopped", n-before)
		}
		stop()
		<-ended
		b.mustBe("stopped, wave 1 of 2, 1 of 3 machines came back")
	})
}

// A roll is for its group, and for one release at a time; the release that
// is to be retired must be nobody else's.
func TestRollRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBerlin(t, 2)
		b.build("2027.01", 13)
		paris := newTPM(t)
		b.approve(paris)
		try := func(name, group, retire, want string) {
			t.Helper()
			_, err := b.RollRelease(ctx, name, release.Options{Group: group, Canary: 5, Failures: 10, Within: policy.Duration(time.Hour), Retire: retire})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("RollRelease(%s, %s, %s) = %v, want %q", name, group, retire, err, want)
			}
		}
		try("2026.12", "berlin", "", "want a label")
		try("2026.12", "site=rome", "", "no approved machine")
		try("2026.12", "site=berlin", "2026.11", "1 machines outside of site=berlin")
		try("2026.12", "site=berlin", "2026.12", "cannot replace itself")
		try("gone", "site=berlin", "", "there is no such one")
		b.roll(release.Options{Canary: 5, Failures: 10})
		try("2026.12", "site=berlin", "", "it has a roll")
		try("2027.01", "site=berlin", "", "is moved to release 2026.12 just now")
		b.booted(paris, 12, "pcr-mismatch")
		if _, err := b.StopRoll(ctx, "2026.12", "site=berlin"); err != nil {
			t.Fatal(err)
		}
		b.booted(b.nodes[0], 12, "pcr-mismatch")
	})
}
