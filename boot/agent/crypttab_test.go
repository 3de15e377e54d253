package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"latchkey/internal/hosttab"
	"latchkey/internal/ifwatch"
)

// A crypttab, or a command line, that has a volume measured is refused by
// name.
func TestCheckCrypttab(t *testing.T) {
	for _, row := range []struct{ name, crypttab, cmdline, want string }{
		{"nothing", "root UUID=1 none luks,discard\n", "root=/dev/mapper/root rd.luks.options=discard", ""},
		{"in crypttab", "swap UUID=2 none tpm2-measure-pcr=yes\nroot UUID=1 none luks\n", "", `of "swap"`},
		{"for all volumes", "", "rd.luks.options=discard,tpm2-measure-pcr=yes", "rd.luks.options="},
		{"for one volume", "", "luks.options=5ca1ab1e-0000-4000-8000-00000000d150=tpm2-measure-pcr=15,discard", "luks.options="},
		{"off", "", "rd.luks.options=tpm2-measure-pcr=no", ""},
	} {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc/crypttab"), []byte(row.crypttab), 0o600); err != nil {
			t.Fatal(err)
		}
		err := CheckCrypttab(hosttab.Host{Root: root}, row.cmdline)
		if (err != nil) != (row.want != "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: CheckCrypttab = %v, want %q", row.name, err, row.want)
		}
	}
}

// Links and DNS servers are taken as others left them.
func TestGiven(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"run/net-eth0.conf":               "DEVICE='eth0'\nIPV4DNS0='192.0.2.53'\nIPV4DNS1='0.0.0.0'\nDNSDOMAIN='lan'\n",
		"etc/resolv.conf":                 "# by dracut\nsearch lan\nnameserver 2001:db8::53\n",
		"run/systemd/resolve/resolv.conf": "nameserver 127.0.0.53\nnameserver nowhere\n",
	} {
		file := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dns := servers(root)
	want := []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("2001:db8::53")}
	if !slices.Equal(dns, want) {
		t.Errorf("servers = %v, want %v", dns, want)
	}

	addr := func(text string, flags uint32) ifwatch.Addr {
		return ifwatch.Addr{Prefix: netip.MustParsePrefix(text), Flags: flags}
	}
	links := given([]ifwatch.Link{
		{Index: 1, Name: "lo", Flags: unix.IFF_LOOPBACK | unix.IFF_RUNNING},
		{Index: 2, Name: "eth0", Flags: unix.IFF_UP | unix.IFF_RUNNING, Addrs: []ifwatch.Addr{addr("192.0.2.9/24", 0), addr("2001:db8::9/64", unix.IFA_F_TENTATIVE)}},
		{Index: 3, Name: "eth1", Flags: unix.IFF_UP},
	}, dns)
	if len(links) != 2 || links[0].Name != "eth0" || !links[0].Up || len(links[0].Addrs) != 1 || links[1].Index != 0 || !slices.Equal(links[1].DNS, want) {
		t.Errorf("given = %+v, want eth0 with one address, and the DNS servers", links)
	}
}
