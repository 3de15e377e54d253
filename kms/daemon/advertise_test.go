package daemon

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"latchkey/discover"
	"latchkey/kms/config"
)

// faults/peers.md I6: a machine of Kairos finds the listener that speaks its
// protocol, and no other.
func TestAnnouncements(t *testing.T) {
	at := func(address string, speaks ...config.Protocol) listener {
		a := netip.MustParseAddrPort(address)
		return listener{addr: net.TCPAddrFromAddrPort(a), speaks: speaks}
	}
	told := func(port uint16, addrs string, services ...string) discover.Announcement {
		a := discover.Announcement{Host: "kms.local", Port: port, Services: services, Text: []string{"v=1"}}
		if addrs != "" {
			a.Addrs = []netip.Addr{netip.MustParseAddr(addrs)}
		}
		return a
	}
	operator := listener{addr: &net.UnixAddr{Name: "/x", Net: "unix"}, what: operators}

	for _, row := range []struct {
		name, warns string
		listeners   []listener
		want        []discover.Announcement
	}{
		{"lk1 at all addresses", "", []listener{at("[::]:7741", config.LK1), operator}, []discover.Announcement{told(7741, "", "_latchkey._tcp")}},
		{"at one address", "", []listener{at("192.0.2.5:7741", config.LK1)}, []discover.Announcement{told(7741, "192.0.2.5", "_latchkey._tcp")}},
		{"both on one port", "", []listener{at("[::]:7741", config.LK1, config.Kairos)}, []discover.Announcement{told(7741, "", "_latchkey._tcp", "_kcrypt._tcp")}},
		{"a port each, as docs/kms.md has it", "", []listener{at("[::]:7741", config.LK1), at("[::]:7742", config.Kairos)}, []discover.Announcement{told(7741, "", "_latchkey._tcp"), told(7742, "", "_kcrypt._tcp")}},
		{"Kairos first in the list", "", []listener{at("[::]:7742", config.Kairos), at("[::]:7741", config.LK1)}, []discover.Announcement{told(7741, "", "_latchkey._tcp"), told(7742, "", "_kcrypt._tcp")}},
		{"Kairos alone", "", []listener{at("[::]:7742", config.Kairos)}, []discover.Announcement{told(7742, "", "_kcrypt._tcp")}},
		{"the first listener of a protocol", "", []listener{at("[::]:1", config.LK1), at("[::]:2", config.LK1)}, []discover.Announcement{told(1, "", "_latchkey._tcp")}},
		{"an address each: a name has one", "_kcrypt._tcp", []listener{at("192.0.2.5:7741", config.LK1), at("192.0.2.6:7742", config.Kairos)}, []discover.Announcement{told(7741, "192.0.2.5", "_latchkey._tcp")}},
		{"nothing that is searched for", "", []listener{operator}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			var log bytes.Buffer
			got := announcements([]string{"kms.local"}, row.listeners, slog.New(slog.NewTextHandler(&log, nil)))
			if diff := cmp.Diff(row.want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("announcements (-want +got):\n%s", diff)
			}
			if row.warns == "" && log.Len() > 0 || !strings.Contains(log.String(), row.warns) {
				t.Errorf("announcements logged %q, want %q", log.String(), row.warns)
			}
			if _, err := discover.NewResponder(got, discover.System{}, slog.New(slog.DiscardHandler)); err != nil {
				t.Errorf("the responder refuses it: %v", err)
			}
		})
	}
}
