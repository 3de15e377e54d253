package netup_test

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"latchkey/internal/plan"
	"latchkey/netup"
)

// What could not be done is said in words, not in Go's.
func TestOpWords(t *testing.T) {
	to := netip.MustParsePrefix("192.0.2.5/24")
	for _, op := range []netup.Op{
		netup.SetUp{Index: 1},
		netup.SetDown{Index: 1},
		netup.SetName{Index: 1, Name: "lan0"},
		netup.SetAlias{Index: 1, Alias: "x"},
		netup.AddVLAN{VLAN: plan.VLAN{Name: "eth0.5", On: "eth0", ID: 5}, Parent: 1},
		netup.AddBond{Bond: plan.Bond{Name: "bond0", Ports: []string{"eth0"}}},
		netup.AddBridge{Name: "br0"},
		netup.SetBondOption{Bond: "bond0", BondOption: plan.BondOption{Name: "mode", Value: "802.3ad"}},
		netup.SetMaster{Index: 1, Master: 2},
		netup.DelLink{Index: 1},
		netup.SetMTU{Index: 1, MTU: 1400},
		netup.SetMAC{Index: 1, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}},
		netup.SetSysctl{Index: 1, Family: "ipv6", Key: "accept_ra", Value: "0"},
		netup.AddAddr{Index: 1, Prefix: to},
		netup.DelAddr{Index: 1, Prefix: to},
		netup.AddRoute{Index: 1, To: to},
		netup.DelRoute{Index: 1, To: to, Via: to.Addr()},
	} {
		if got := netup.OpWords(op); strings.ContainsAny(got, "{}") || strings.Contains(got, "netup.") || !strings.Contains(got, " ") {
			t.Errorf("%T is %q in words", op, got)
		}
	}
}

// The bonding module makes bond0 when it is loaded, perhaps just before us:
// that is no failure, and ours comes in its place.
func TestBondIsThereAlready(t *testing.T) {
	first := true
	log, k, _ := recorded(t, func() *fakeKernel {
		k := one()
		k.fail = func(op netup.Op) error {
			if o, ok := op.(netup.AddBond); ok && first {
				first = false
				k.devices[9] = netup.Device{Index: 9, Name: o.Name, Kind: "bond", MTU: 1500, Ether: true}
				return fmt.Errorf("making it: %w", fs.ErrExist)
			}
			return nil
		}
		return k
	}, "bond=bond0:eth0:mode=1", 10*time.Second)
	devices, _ := k.Devices()
	if strings.Contains(log, "cannot create") || len(devices) != 2 || devices[0].Master == 0 || devices[0].Master == 9 {
		t.Errorf("devices are %+v, want eth0 in a bond of ours, and no complaint:\n%s", devices, log)
	}
}
