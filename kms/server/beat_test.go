package server_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms"
	"latchkey/kms/server/policy"
	"latchkey/kms/softtpm"
)

// A beater is a machine whose system beats, once a minute.
type beater struct {
	*softtpm.Beater
	f     *fixture
	beats *kms.Beats
}

// present is an approved machine that may be away for ten minutes, and beats.
func (f *fixture) present() *beater {
	f.t.Helper()
	b := &beater{&softtpm.Beater{TPM: f.approved()}, f, nil}
	f.set(b.TPM, policy.Settings{Presence: ptr(policy.Duration(10 * time.Minute))})
	f.mustGet(b.TPM)
	b.register("")
	return b
}

// mustBeat gets the root volume's secret, and registers.
func (f *fixture) mustBeat(node *softtpm.TPM) {
	f.t.Helper()
	f.mustGet(node)
	(&beater{&softtpm.Beater{TPM: node}, f, nil}).register("")
}

// register shows the key of this boot.
func (b *beater) register(want string) {
	b.f.t.Helper()
	beats, err := b.f.client().Register(ctx, b.f.url, b, wants(root))
	if code(err) != want || (err == nil) != (want == "") {
		b.f.t.Fatalf("Register = %v, want code %q", err, want)
	}
	if err == nil {
		b.beats = beats
	}
}

func (b *beater) beat(want string) {
	b.f.t.Helper()
	if err := b.f.client().Beat(ctx, b.f.url, b, b.beats); code(err) != want || (err == nil) != (want == "") {
		b.f.t.Fatalf("Beat = %v, want code %q", err, want)
	}
}

// live beats for a time.
func (b *beater) live(d time.Duration) {
	b.f.t.Helper()
	for range d / time.Minute {
		time.Sleep(time.Minute)
		b.beat("")
	}
}

// watching looks for those that vanished, until the test ends.
func (f *fixture) watching(do func()) {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); f.WatchPresence(ctx) }()
	defer func() { stop(); <-done }()
	do()
}

// said are the events of a machine's presence.
func (f *fixture) said() (events []string) {
	for _, e := range f.log() {
		if slices.Contains([]string{"vanished", "back", "moved"}, e.Event) {
			events = append(events, e.Event)
		}
	}
	return events
}

func (f *fixture) mustSay(want ...string) {
	f.t.Helper()
	if got := f.said(); !slices.Equal(got, want) {
		f.t.Errorf("the log has %q, want %q", got, want)
	}
}

// A machine that beats reboots without anybody, after however long.
func TestPresentMachineReboots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.present()
		f.watching(func() {
			for range 3 {
				node.live(3 * time.Hour)
				time.Sleep(8 * time.Minute) // firmware, fsck
				node.Reset++
				f.mustGet(node.TPM)
				node.register("")
			}
		})
		f.mustSay()
	})
}

// A machine that was stolen gets nothing, though nobody is awake, until an
// operator renews it.
func TestStolenMachineGetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.present()
		f.watching(func() {
			node.live(time.Hour)
			time.Sleep(9 * time.Minute)
			f.mustSay()
			time.Sleep(4*time.Minute + 30*time.Second)
			f.mustSay("vanished") // with nobody asking
			node.Reset++
			f.mustRefuse(node.TPM, "pending", policy.RulePresence)
			f.mustRefuse(node.TPM, "pending", policy.RulePresence)
			f.mustSay("vanished", "back")
			if present, vanished := f.Presence(); present != 0 || vanished != 1 {
				t.Errorf("Presence = %d, %d, want one that vanished", present, vanished)
			}
			if n, err := f.Node(node.NodeID().String()); err != nil || n.Describe() != "vanished" || !n.Waits() {
				t.Errorf("Node = %q, %v, want one that vanished and waits", n.Describe(), err)
			}
			if _, err := f.RenewNode(ctx, node.NodeID().String()); err != nil {
				t.Fatal(err)
			}
			f.mustGet(node.TPM)
			time.Sleep(9 * time.Minute)
			f.mustGet(node.TPM)
		})
	})
}

// It is so without a look between: the question itself comes too late.
func TestStolenMachineAsksBeforeTheLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.present()
		f.watching(func() {
			node.live(time.Hour)
			time.Sleep(9 * time.Minute)
			f.mustGet(node.TPM)
			node.live(time.Hour)
			time.Sleep(9*time.Minute + time.Second)
			f.mustSay()
			f.mustRefuse(node.TPM, "pending", policy.RulePresence)
			f.mustSay("vanished", "back")
		})
	})
}

// A machine that was off the network and beats again still waits.
func TestBeatDoesNotRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.present()
		f.watching(func() {
			node.live(time.Hour)
			time.Sleep(time.Hour)
			node.beat("") // with the ticket of before
			f.mustSay("vanished")
			node.beat("")
			node.live(time.Hour)
			f.mustSay("vanished", "back")
			f.mustRefuse(node.TPM, "pending", policy.RulePresence)
			time.Sleep(time.Hour)
			f.mustSay("vanished", "back", "vanished")
		})
	})
}

// A beat that was recorded, or held back, proves what was true then.
func TestOldBeatProvesNothingNew(t *testing.T) {
	for name, old := range map[string]func(f *fixture, node *beater) kms.Beats{
		"replayed": func(_ *fixture, node *beater) kms.Beats { b := *node.beats; node.beat(""); return b },
		"delayed":  func(_ *fixture, node *beater) kms.Beats { return *node.beats },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newKMS(t, inMemory)
				node := f.present()
				node.live(time.Hour)
				f.watching(func() {
					kept := old(f, node)
					for range 11 {
						time.Sleep(time.Minute)
						again := kept
						if err := f.client().Beat(ctx, f.url, node, &again); err != nil {
							t.Fatal(err)
						}
					}
					f.mustRefuse(node.TPM, "pending", policy.RulePresence)
				})
			})
		})
	}
}

// While no key server runs nobody can be seen: who was there then goes on
// when one is back.
func TestOutageIsNobodysAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.present()
		gone := &beater{&softtpm.Beater{TPM: newTPM(t)}, f, nil}
		f.approve(gone.TPM, data)
		f.set(gone.TPM, policy.Settings{Presence: ptr(policy.Duration(10 * time.Minute))})
		f.watching(func() { node.live(time.Hour) })
		f.web.Close()
		f.Server.Close()
		time.Sleep(time.Hour)
		f.pipe = newPipes()
		if err := f.start(); err != nil {
			t.Fatal(err)
		}
		f.watching(func() {
			time.Sleep(9 * time.Minute)
			node.Reset++
			f.mustGet(node.TPM)
			f.mustRefuse(gone.TPM, "pending", policy.RulePresence)
		})
		if got := strings.Join(f.said(), " "); got != "vanished back" {
			t.Errorf("the log has %q, want that one vanished", got)
		}
	})
}

// A machine that asks or beats from another network than before is told so to
// the operator, and is what the policy says; renewing it takes the network.
func TestMovedMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.present()
		f.set(node.TPM, policy.Settings{Moved: policy.MovedApprove})
		f.watching(func() {
			f.mustGet(node.TPM)
			f.pipe.from = "198.51.100.7:1"
			node.beat("") // its ticket may have been recorded, and is no news
			f.mustSay()
			node.live(2 * time.Minute)
			f.mustSay("moved")
			f.mustRefuse(node.TPM, "pending", policy.RuleMoved)
			node.live(time.Hour)
			f.mustSay("moved")
			if _, err := f.RenewNode(ctx, node.NodeID().String()); err != nil {
				t.Fatal(err)
			}
			f.mustGet(node.TPM)
			f.set(node.TPM, policy.Settings{Moved: policy.MovedRefuse})
			f.pipe.from = ""
			f.mustRefuse(node.TPM, "refused", policy.RuleMoved)
			f.mustSay("moved", "moved")
			f.set(node.TPM, policy.Settings{Moved: policy.MovedAllow})
			f.mustGet(node.TPM)
			f.mustGet(node.TPM)
		})
		f.mustSay("moved", "moved")
	})
}

// The beat itself shows that the machine was away too long, where nobody has
// looked between.
func TestGapBetweenLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.present()
		f.watching(func() {
			node.live(61 * time.Minute)
			time.Sleep(10*time.Minute + time.Second)
			node.beat("")
			f.mustSay() // that proves the time of before
			node.beat("")
			f.mustSay("vanished", "back")
			f.mustRefuse(node.TPM, "pending", policy.RulePresence)
		})
	})
}
