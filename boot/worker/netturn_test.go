package worker_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

// TestNetworkHint is faults/field.md P1: an ip= that is valid and wrong for
// this LAN fails no boot that the image alone would have made, and one that
// is right outlasts a key server that is away. Neither is ever given up
// where the image sets no find.timeout.
func TestNetworkHint(t *testing.T) {
	asked := func(n plan.Net) bool { return len(n.IPs) > 0 } // the command line's
	for _, row := range []struct {
		name    string
		cmdline string
		timeout time.Duration
		reaches func(plan.Net) bool
		back    time.Duration // when the key server comes back
		state   string        // of the key server
		code    string        // with which it fails
		within  time.Duration
	}{
		{"wrong, with a limit", "ip=198.51.100.2::198.51.100.1:24::eth0:none", 10 * time.Minute, func(n plan.Net) bool { return !asked(n) }, 0, "", "", 6 * time.Minute},
		{"wrong, with a short limit", "ip=eth7:dhcp", 2 * time.Minute, func(n plan.Net) bool { return !asked(n) }, 0, "", "", 3 * time.Minute},
		{"wrong, without a limit", "ip=eth7:dhcp", 0, func(n plan.Net) bool { return !asked(n) }, 0, "", "", 6 * time.Minute},
		{"right, and the server is away for long", "ip=198.51.100.2::198.51.100.1:24::eth0:none", 0, asked, 47 * time.Minute, "", "", 56 * time.Minute},
		{"both wrong", "ip=eth7:dhcp", 10 * time.Minute, func(plan.Net) bool { return false }, 0, "", "kms-timeout", 21 * time.Minute},
		{"only a time changes", "rd.net.timeout.carrier=30", 10 * time.Minute, func(plan.Net) bool { return false }, 0, "", "kms-timeout", 11 * time.Minute},
		{"the server says no: the network is right", "ip=eth0:dhcp", 10 * time.Minute, nil, 0, "refuses", "kms-timeout", 21 * time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := boottest.New("kms")
				defer m.End()
				m.Cmdline, m.Plan.Find.Timeout, m.Reaches, m.KMS.State = row.cmdline, row.timeout, row.reaches, row.state
				if row.back > 0 {
					m.KMS.State = "away"
					time.AfterFunc(row.back, func() { m.KMS.Set("") })
				}
				said, ended := m.RunWorker("", row.within)
				if got := boottest.Failure(said); !ended || got != row.code {
					t.Errorf("ended: %t with %q, want %q:\n%s", ended, got, row.code, story(said))
				}
				if row.state == "refuses" && turns(said) != 0 {
					t.Errorf("the network was changed under a key server that answers:\n%s", story(said))
				}
			})
		})
	}
}

// turns counts how often other network settings had their turn.
func turns(said []wire.Record) (n int) {
	for _, r := range said {
		if r.Kind == wire.KindWaiting && strings.Contains(r.Text, "trying the network as") {
			n++
		}
	}
	return n
}
