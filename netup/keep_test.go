package netup_test

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/plan"
	"latchkey/netup"
)

var update = flag.Bool("update", false, "write the golden files anew")

// prefixes reads addresses with blanks between them.
func prefixes(t *testing.T, text string) (out []netip.Prefix) {
	t.Helper()
	for _, s := range strings.Fields(text) {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// tree are all files below a folder, as text.
func tree(t *testing.T, dir string) (text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		info, _ := d.Info()
		name, _ := filepath.Rel(dir, path)
		text += "-- " + name + " " + info.Mode().String() + " --\n" + string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// faults/network.md M6: what is written for the real root's network services,
// as text. Each row is one link.
func TestKeep(t *testing.T) {
	lease := &netup.Lease{Address: netip.MustParsePrefix("192.0.2.10/24"), Server: netip.MustParseAddr("192.0.2.1")}
	hardware := func(d *netup.Device) {}
	got := &bytes.Buffer{}
	for _, row := range []struct {
		name, cmdline, addrs string
		lease                *netup.Lease
		device               func(*netup.Device)
		down                 bool
	}{
		{"a lease", "", "192.0.2.10/24 fe80::1/64 2001:db8::1/64", lease, hardware, false},
		{"a lease, renamed since the driver gave a name and a MAC of its own", "ip=eth0:dhcp::02:00:00:00:00:77", "192.0.2.10/24", lease, func(d *netup.Device) {
			d.MAC, d.PermMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0x77}, net.HardwareAddr{2, 0, 0, 0, 0, 1}
		}, false},
		{"static", "ip=198.51.100.5::198.51.100.1:24::eth0:none:198.51.100.53 nameserver=2001:db8::53", "198.51.100.5/24 fe80::1/64", nil, hardware, false},
		{"IPv6 only, DHCP silent", "ip=dhcp", "169.254.7.7/16 fe80::1/64 2001:db8::1/64", nil, hardware, false},
		{"DHCPv6, and no DNS of the network", "ip=dhcp6 rd.peerdns=0", "2001:db8::1/64", nil, hardware, false},
		{"IPv6 off", "ip=dhcp ip6=off", "192.0.2.10/24", lease, hardware, false},
		{"static IPv6", "ip=[2001:db8::5]::[2001:db8::1]:64::eth0:none", "2001:db8::5/64", nil, hardware, false},
		{"a VLAN", "vlan=eth0.5:eth1 ip=eth0.5:dhcp", "192.0.2.10/24", lease, func(d *netup.Device) { d.Name, d.Kind, d.Alias = "eth0.5", "vlan", "latchkey:made" }, false},
		{"InfiniBand", "", "192.0.2.10/24", lease, func(d *netup.Device) { d.Kind, d.Place.Bus, d.MAC = "ipoib", true, make(net.HardwareAddr, 20) }, false},
		{"link-local only: nothing", "", "169.254.7.7/16 fe80::1/64", nil, hardware, false},
		{"down: nothing", "", "192.0.2.10/24", lease, hardware, true},
		{"not in the plan: nothing", "ip=eth9:dhcp", "2001:db8::1/64", nil, hardware, false},
	} {
		settings := parsed(t, row.cmdline)
		d := eth(1)
		d.Alias = "latchkey:name=eth0,mtu=1500,mac=02:00:00:00:00:01"
		row.device(&d)
		k := newKernel(d)
		link := netup.Link{Index: 1, Name: d.Name, MAC: d.MAC, Up: !row.down, Addrs: prefixes(t, row.addrs), Lease: row.lease}
		for _, line := range settings.IPs {
			if line.Link == "" || line.Link == d.Name {
				link.Plan = append(link.Plan, line)
			}
		}

		run := t.TempDir()
		if err := netup.Keep(k, run, settings, []netup.Link{link}); err != nil {
			t.Errorf("%s: Keep() = %v, want nil", row.name, err)
		}
		got.WriteString("==== " + row.name + "\n" + tree(t, run))
		after, _ := k.Devices()
		if after[0].Alias != "" || after[0].Name != d.Name || len(k.told("SetDown", "DelAddr", "DelLink")) > 0 {
			t.Errorf("%s: the link is %+v after %q, want it as it was, without an alias", row.name, after[0], k.told(""))
		}
		if !slices.Contains(k.told("SetSysctl"), "SetSysctl{Index:1 Family:ipv4 Key:arp_ignore Value:}") {
			t.Errorf("%s: operations %q, want the sysctls set back", row.name, k.told("SetSysctl"))
		}
	}

	const golden = "testdata/keep.txt"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// What Run tells is what Keep needs: the lines of the plan that a link
// follows, an address only where it is.
func TestLinkTellsPlan(t *testing.T) {
	fake(t, func() *fakeKernel { return newKernel(eth(1), eth(2)) }, parsed(t, "ip=192.0.2.5/24"), func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		if one, two := s.link("eth0").Plan, s.link("eth1").Plan; len(one) != 1 || len(two) != 0 {
			t.Errorf("plans %v and %v, want the line on eth0 alone", one, two)
		}
	})
}

func TestKeepRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	link := netup.Link{Index: 1, Name: "eth0", Up: true, Addrs: prefixes(t, "192.0.2.10/24")}
	if err := netup.Keep(newKernel(eth(1)), file, plan.Net{}, []netup.Link{link}); err == nil {
		t.Error("Keep() into a file = nil, want an error")
	}
}

// A kernel without IPv6 has fewer settings to put back, and that is no
// failure.
func TestReleaseWithoutIPv6(t *testing.T) {
	d := eth(1)
	d.Alias = "latchkey:name=eth0"
	k := newKernel(d)
	k.fail = func(op netup.Op) error {
		if o, ok := op.(netup.SetSysctl); ok && o.Family == "ipv6" {
			return &os.PathError{Op: "open", Path: o.Key, Err: os.ErrNotExist}
		}
		return nil
	}
	if err := netup.Release(k, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("Release() = %v, want nil", err)
	}
}
