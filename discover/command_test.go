package discover_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"latchkey/internal/testlan"
)

// latchkey discover asks the DNS servers of the host, for names under .local,
// too. faults/network.md D9, field.md P6.
func TestDiscoverCommand(t *testing.T) {
	testlan.Need(t, "dnsmasq")
	bin := testlan.Build(t, "latchkey/cmd/latchkey")
	lan := cable(t)
	lan.Start("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--interface=lan0", "--bind-interfaces",
		"--host-record=kms.example.com,192.0.2.5", "--host-record=kms.corp.local,192.0.2.6", "--local=/com/", "--local=/local/", "--local=/lan/", "--host-record=keys.lan,192.0.2.7")
	testlan.Await(t, "dnsmasq", func() bool { return strings.Contains(lan.Run("ss", "-lun"), ":53 ") })
	lan.Run("sh", "-c", "mount -t tmpfs tmpfs /etc && printf 'nameserver 192.0.2.1\\nsearch lan\\n' >/etc/resolv.conf")

	for _, row := range []struct{ url, want string }{
		{"http://kms.example.com:7741", "192.0.2.5:7741"},
		{"http://kms.corp.local", "192.0.2.6:7741"},
		{"http://keys:1", "192.0.2.7:1"},
	} {
		t.Run(row.url, func(t *testing.T) {
			// It fails, because nobody answers there; what it found is printed all the same.
			out, err := lan.Command(bin, "discover", "--url", row.url, "--wait", "3s", "--json", "--interface", "lan*").Output()
			if err == nil {
				t.Errorf("discover --url %s succeeds without a key server", row.url)
			}
			var found []struct{ Address, Source string }
			if err := json.Unmarshal(out, &found); err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(found, func(f struct{ Address, Source string }) bool { return f.Address == row.want && f.Source == "dns" }) {
				t.Errorf("discover --url %s = %s, want %s by dns", row.url, out, row.want)
			}
		})
	}

	for _, row := range []struct {
		args []string
		says string
	}{
		{[]string{"--interface", "eth9"}, "--interface eth9: this machine has no such link, but lo, lan0"},
		{[]string{"--url", "http://nosuch.example.com", "--wait", "1s"}, "nothing answers for http://nosuch.example.com, _latchkey._tcp: asked by multicast and the DNS servers [192.0.2.1]"},
	} {
		out, err := lan.Command(bin, append([]string{"discover"}, row.args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), row.says) {
			t.Errorf("discover %v: %v, %s, want %q", row.args, err, out, row.says)
		}
	}
}
