package plan_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/plan"
)

// dracutDir is where dracut-network has its scripts; LATCHKEY_DRACUT names
// another place.
const dracutDir = "/usr/lib/dracut/modules.d"

// script prints what dracut makes of each line on standard input. Its
// dracut-lib.sh wants a booted initramfs; only strglob is taken from there.
const script = `
strglob() { [ -n "$1" ] && [ -z "${1##$2}" ]; }
getarg() { return 1; }
eval "$(sed -n '/^ip_to_var()/,/^}/p' "$1")"
while read -r line; do
	ip_to_var "$line"
	echo "$ip|$srv|$gw|$mask|$hostname|$dev|$autoconf|$mtu|$macaddr|$dns1|$dns2"
done
`

// TestLikeDracut compares with the script that dracut reads ip= with, on
// lines put together by chance. What we refuse is not compared: dracut
// checks little.
//
// compatible: Network | dracut 059 | `ip=` is read as it reads it
func TestLikeDracut(t *testing.T) {
	dir := os.Getenv("LATCHKEY_DRACUT")
	if dir == "" {
		dir = dracutDir
	}
	lib := filepath.Join(dir, "40network", "net-lib.sh")
	if _, err := os.Stat(lib); err != nil {
		if os.Getenv("CI") != "" && dir != dracutDir {
			t.Fatal(err)
		}
		t.Skip("needs the scripts of dracut-network: LATCHKEY_DRACUT=$(images/dracut): ", err)
	}

	lines := dracutLines()
	cmd := exec.Command("sh", "-c", script, "sh", lib)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}

	compared := 0
	for i, theirs := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		n, problems := plan.ParseNet([]plan.Arg{{Key: "ip", Value: lines[i], HasValue: true}})
		if len(problems) > 0 {
			continue
		}
		compared++
		if ours := asDracut(n.IPs[0]); ours != normal(theirs) {
			t.Errorf("ip=%s\n ours   %s\n dracut %s", lines[i], ours, normal(theirs))
		}
	}

	if compared < len(lines)/4 {
		t.Errorf("only %d of %d lines were compared", compared, len(lines))
	}
	t.Logf("%d of %d lines compared", compared, len(lines))
}

func dracutLines() []string {
	chance := rand.New(rand.NewPCG(5, 6))
	pick := func(list ...string) string { return list[chance.IntN(len(list))] }
	lines := []string{"dhcp", "on", "any", "dhcp6", "auto6", "either6", "link6", "single-dhcp", "dhcp,dhcp6"}
	for range 500 {
		lines = append(lines, fmt.Sprintf("%s:%s%s", pick("eth0", "enp1s0", "lan"), pick("dhcp", "on", "any", "dhcp6", "auto6", "either6"),
			pick("", ":1400", ":1400:52:54:00:12:34:56", "::52:54:00:12:34:56", ":1400:52-54-00-12-34-56")))
		client, gw, mask := "192.0.2.5", pick("", "192.0.2.1"), pick("24", "255.255.255.0", "255.255.254.0")
		if chance.IntN(3) == 0 {
			client, gw, mask = "[2001:db8::5]", pick("", "[2001:db8::1]"), "64"
		}
		lines = append(lines, fmt.Sprintf("%s:%s:%s:%s:%s:%s:%s%s", client, pick("", "", "198.51.100.1"), gw, mask, pick("", "node", "node.example.org"),
			pick("eth0", "lan"), pick("none", "off"),
			pick("", ":1400", ":1400:52:54:00:12:34:56", "::52:54:00:12:34:56", ":192.0.2.53", ":192.0.2.53:192.0.2.54", ":[2001:db8::53]", ":[2001:db8::53]:[2001:db8::54]")))
		lines = append(lines, fmt.Sprintf("::::%s:%s:%s", pick("", "node"), pick("eth0", "lan"), pick("dhcp", "dhcp6", "auto6", "either6", "on")))
	}

	return lines
}

// asDracut writes a line as the script's variables.
func asDracut(l plan.IP) string {
	text := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}

	var ip, mask, mtu string
	if l.Address.IsValid() {
		ip, mask = l.Address.Addr().String(), fmt.Sprint(l.Address.Bits())
	}
	if l.MTU != 0 {
		mtu = fmt.Sprint(l.MTU)
	}

	dns := make([]netip.Addr, 2)
	copy(dns, l.DNS)
	var methods []string
	for _, m := range l.Methods {
		methods = append(methods, string(m))
	}

	return strings.Join([]string{ip, text(l.Peer), text(l.Gateway), mask, l.Hostname, l.Link, strings.Join(methods, ","), mtu, string(l.MAC), text(dns[0]), text(dns[1])}, "|")
}

// normal writes the script's variables in our spelling: masks as lengths,
// several words for DHCP as one, none for a static line.
func normal(line string) string {
	f := strings.Split(line, "|")
	if mask, err := netip.ParseAddr(f[3]); err == nil {
		bits := 0
		for _, b := range mask.AsSlice() {
			bits += bytes.Count([]byte(fmt.Sprintf("%b", b)), []byte("1"))
		}
		f[3] = fmt.Sprint(bits)
	}
	f[6] = strings.NewReplacer("single-dhcp", "dhcp", "none", "static", "off", "static").Replace(f[6])
	if f[6] == "on" || f[6] == "any" {
		f[6] = "dhcp"
	}
	f[8] = strings.ReplaceAll(f[8], "-", ":")
	f[1] = "" // faults/field.md P4: the mask says that there is no other end
	return strings.Join(f, "|")
}
