package worker_test

import (
	"crypto/elliptic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
	"latchkey/unlock/source/clevis/clevistest"
)

// TestNetworkHintOfTang is TestNetworkHint with tang servers, with and
// without a key server in the plan. A turn is for each server by itself.
func TestNetworkHintOfTang(t *testing.T) {
	asked := func(n plan.Net) bool { return len(n.IPs) > 0 } // the command line's
	image := func(n plan.Net) bool { return !asked(n) }
	never := func(plan.Net) bool { return false }
	const wrong, right = "ip=eth7:dhcp", "ip=198.51.100.2::198.51.100.1:24::eth0:none"
	for _, row := range []struct {
		name    string
		cmdline string
		wait    time.Duration
		reaches func(plan.Net) bool
		back    time.Duration // when the tang server comes back; 0: it is there
		kms     string        // the state of a key server that the plan has, too
		code    string        // with which it fails
		within  time.Duration
		turns   int
	}{
		{"right", right, time.Minute, asked, 0, "", "", time.Second, 0},
		{"forced, and nothing else", "rd.neednet=1", time.Minute, nil, 0, "", "", time.Second, 0},
		{"wrong, without a limit", wrong, 0, image, 0, "", "", 6 * time.Minute, 1},
		{"wrong, with a short limit", wrong, 2 * time.Minute, image, 0, "", "", 3 * time.Minute, 1},
		{"wrong, with a long limit", wrong, time.Hour, image, 0, "", "", 6 * time.Minute, 1},
		{"right, and the server is away for long", right, 0, asked, 47 * time.Minute, "", "", 56 * time.Minute, 10},
		{"both wrong", wrong, 12 * time.Minute, never, 0, "", "clevis-silent", 25 * time.Minute, 4},
		{"the key server says no, tang is not reached", wrong, 0, image, 0, "refuses", "", 6 * time.Minute, 1},
		{"no hint", "", 2 * time.Minute, never, 0, "", "clevis-silent", 3 * time.Minute, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const address = "192.0.2.7:80"
				tang := clevistest.New(elliptic.P256())
				m := boottest.New("clevis")
				defer m.End()
				m.Cmdline, m.Reaches, m.Plan.Find.Timeout = row.cmdline, row.reaches, time.Minute // of key servers alone
				m.Plan.Clevis = plan.Clevis{Tang: []string{tang.Thumbprint()}, Wait: row.wait}
				m.Disks[0].AddToken(clevistest.Token(tang.Seal("http://192.0.2.7", []byte(boottest.Recovery)), 1))
				m.Tangs = map[string]*clevistest.Tang{}
				time.AfterFunc(row.back, func() { m.SetTang(address, tang) })
				if m.KMS.State = row.kms; row.kms == "" {
					m.Plan.Trust.KMS = nil
				} else {
					m.Plan.Find.Timeout = 0
					m.Plan.Volumes[0].Sources = []string{"kms", "clevis"}
				}
				said, ended := m.RunWorker("", row.within)
				if got := boottest.Failure(said); !ended || got != row.code || turns(said) != row.turns {
					t.Errorf("ended: %t with %q after %d turns, want %q after %d:\n%s", ended, got, turns(said), row.code, row.turns, story(said))
				}
			})
		})
	}
}

// TestTangTold: two servers that do not answer are one line, and it is told
// once while it stays the same.
func TestTangTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tang := clevistest.New(elliptic.P256())
		at := func(url string) func([]byte) string {
			return func(share []byte) string { return tang.Seal(url, share) }
		}
		m := boottest.New("clevis")
		defer m.End()
		m.Plan.Trust.KMS, m.Plan.Clevis = nil, plan.Clevis{Tang: []string{tang.Thumbprint()}, Wait: time.Minute}
		m.Disks[0].AddToken(clevistest.Token(clevistest.Share(1, []byte(boottest.Recovery), at("http://192.0.2.8"), at("http://192.0.2.7")), 1))
		said, ended := m.RunWorker("", 2*time.Minute)
		var lines []string
		for _, r := range said {
			if r.Kind == wire.KindWaiting {
				lines = append(lines, r.Code+": "+r.Text)
			}
		}
		const want = "clevis-silent: tang server http://192.0.2.7:80: 192.0.2.7:80: connection refused; tang server http://192.0.2.8:80: 192.0.2.8:80: connection refused"
		if !ended || len(lines) != 1 || lines[0] != want {
			t.Errorf("ended: %t, told %q, want %q once", ended, lines, want)
		}
	})
}
