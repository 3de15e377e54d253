package netup_test

import (
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/plan"
	"latchkey/netup"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The files of two links, one with a lease and one from the plan, as text.
func TestKeep(t *testing.T) {
	settings, _ := parse(t, "ip=eth0:dhcp ip=198.51.100.5::198.51.100.1:24::eth1:none:198.51.100.53")
	links := []netup.Link{
		{
			Index: 2, Name: "eth0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Up: true,
			Addrs:    []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24"), netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("2001:db8::1/64")},
			Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")},
			Domains: []string{"example.org"},
			Lease:   &netup.Lease{Address: netip.MustParsePrefix("192.0.2.10/24"), Server: netip.MustParseAddr("192.0.2.1"), Hostname: "node", Valid: time.Hour},
		},
		{
			Index: 3, Name: "eth1", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, Up: true,
			Addrs:    []netip.Prefix{netip.MustParsePrefix("198.51.100.5/24"), netip.MustParsePrefix("fe80::2/64")},
			Gateways: []netip.Addr{netip.MustParseAddr("198.51.100.1")}, DNS: []netip.Addr{netip.MustParseAddr("198.51.100.53")},
		},
		{Index: 4, Name: "eth2"}, // down: nothing to keep
	}

	run := t.TempDir()
	if err := netup.Keep(run, settings, links); err != nil {
		t.Fatal(err)
	}

	got := ""
	err := filepath.WalkDir(run, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		info, _ := d.Info()
		name, _ := filepath.Rel(run, path)
		got += "-- " + name + " " + info.Mode().String() + " --\n" + string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	const golden = "testdata/keep.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}

	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestKeepRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	link := netup.Link{Name: "eth0", Up: true, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}}
	if err := netup.Keep(file, plan.Net{}, []netup.Link{link}); err == nil {
		t.Error("Keep() into a file = nil, want an error")
	}
}
