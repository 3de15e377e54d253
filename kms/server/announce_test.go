package server_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/server/policy"
)

// A change that the running system announced costs no approval: the next boot
// is taken, once, and pinned.
func TestAnnouncedBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.approved()
		announce := func(want string) {
			t.Helper()
			if err := f.client().Announce(ctx, f.url, node, wants(root)); code(err) != want {
				t.Fatalf("Announce = %v, want code %q", err, want)
			}
		}
		f.mustGet(node)
		announce("refused") // nobody allowed it
		f.set(node, policy.Settings{Announce: policy.AnnounceAllow, AnnounceFor: ptr(policy.Duration(time.Hour))})
		announce("")
		n, err := f.Node(node.NodeID().String())
		if err != nil || n.Announced == nil || !strings.Contains(n.Announced.Window(), "its next boot may be another one") {
			t.Fatalf("Node = %+v, %v, want that it is announced", n.Announced, err)
		}

		node.PCRs[7], node.Reset = [32]byte{70}, node.Reset+1
		announce("refused") // only the boot that was given its keys may
		f.mustGet(node)
		f.mustGet(node)
		node.Reset++
		f.mustGet(node) // it is pinned
		node.PCRs[7] = [32]byte{71}
		node.Reset++
		f.mustRefuse(node, "pcr-mismatch", policy.RuleBootState)

		var said []string
		for _, e := range f.log() {
			if strings.HasPrefix(e.Event, "announced") {
				said = append(said, e.Event+" "+e.Detail)
			}
		}
		if len(said) != 2 || !strings.Contains(said[1], "announced-boot pinned PCRs [7]") {
			t.Errorf("the log says %q", said)
		}
	})
}

// The first later boot that asks is the one that was announced, whatever
// becomes of it; and an announcement has its time.
func TestAnnouncementIsForOneBoot(t *testing.T) {
	for name, between := range map[string]func(*fixture, func(pcr11 byte) string){
		"a boot that nothing measures was between": func(f *fixture, boot func(byte) string) {
			if got := boot(0); got != "pcr-mismatch" {
				f.t.Errorf("a boot that nothing measures got %q", got)
			}
		},
		"the approved boot was between": func(f *fixture, boot func(byte) string) {
			if got := boot(11); got != "" {
				f.t.Errorf("the approved boot got %q", got)
			}
		},
		"it was long ago": func(*fixture, func(byte) string) { time.Sleep(24*time.Hour + time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newKMS(t, inMemory)
				node := f.approved()
				f.set(node, policy.Settings{Announce: policy.AnnounceAllow})
				f.mustGet(node)
				if err := f.client().Announce(ctx, f.url, node, wants(root)); err != nil {
					t.Fatal(err)
				}
				boot := func(pcr11 byte) string {
					node.Reset++
					node.PCRs[11] = [32]byte{pcr11}
					_, err := f.get(node)
					return code(err)
				}
				between(f, boot)
				if got := boot(12); got != "pcr-mismatch" {
					t.Errorf("a later boot got %q, want pcr-mismatch", got)
				}
			})
		})
	}
}
