package netup_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"latchkey/internal/plan"
	"latchkey/internal/testlan"
	"latchkey/netup"
)

// trackEnv makes this test program a switch that answers each ARP probe on
// lan0 with one for the same address: "host" to the prober alone, "all" to
// everybody.
const trackEnv = "LATCHKEY_TEST_TRACK"

func track(to string) error {
	link, err := net.InterfaceByName("lan0")
	if err != nil {
		return err
	}
	conn, err := netup.Linux{}.Open(link.Index, netup.ARP)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for p := make([]byte, 28); ; {
		n, _, err := conn.ReadFrom(p)
		if err != nil {
			return err
		}
		if n < 28 || p[7] != 1 || !bytes.Equal(p[14:18], []byte{0, 0, 0, 0}) || bytes.Equal(p[8:14], link.HardwareAddr) {
			continue
		}
		dst := bytes.Clone(p[8:14])
		if to == "all" {
			dst = bytes.Repeat([]byte{255}, 6)
		}
		copy(p[8:14], link.HardwareAddr)
		if _, err := conn.WriteTo(p, netup.HWAddr(dst)); err != nil {
			return err
		}
	}
}

// faults/network.md Low: a switch that asks whether the machine is still
// there (Cisco's IP Device Tracking), from 0.0.0.0 and with its address as
// the target, is no other machine that wants the address. One that asks
// everybody is.
func TestDeviceTracking(t *testing.T) {
	testlan.Need(t, "dnsmasq")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		to       string
		declined bool
	}{{"host", false}, {"all", true}} {
		t.Run(row.to, func(t *testing.T) {
			lan := testlan.NewPeer(t)
			lan.Connect("eth0", "lan0")
			lan.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "lan0")
			lan.Run("ip", "link", "set", "lan0", "up")
			lan.Start("env", trackEnv+"="+row.to, exe)
			dnsmasq := saying(lan, "lan0", "--dhcp-range=192.0.2.10,192.0.2.20,1h")
			waitFor(t, run(t, plan.Net{}), func(l netup.Link) bool { return len(addresses4(l)) > 0 })
			time.Sleep(1500 * time.Millisecond) // three probes of 300 ms, in which it is declined or not
			if out := dnsmasq(); strings.Contains(out, "DHCPDECLINE") != row.declined {
				t.Errorf("declined: %v, want %v; dnsmasq says:\n%s", !row.declined, row.declined, out)
			}
		})
	}
}
