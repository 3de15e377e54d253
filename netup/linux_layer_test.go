package netup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"latchkey/internal/plan"
)

// TestBondOptions: an option that the driver refuses, because it does not
// go with the mode, is named, and those after it are set all the same;
// without a link monitor a dead port is never left.
func TestBondOptions(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "primary"), 0o700); err != nil { // refuses to be written
		t.Fatal(err)
	}
	err := setBondOptions(dir, bondOptions([]plan.BondOption{
		{Name: "primary", Value: "eth0"}, {Name: "mode", Value: "balance-rr"}, {Name: "arp_ip_target", Value: "192.0.2.1"}, {Name: "arp_interval", Value: "500"},
	}))
	refused, ok := errors.AsType[*OptionsError](err)
	if !ok || len(refused.Refused) != 1 {
		t.Fatalf("setBondOptions = %v, want primary alone refused", err)
	}
	for name, want := range map[string]string{"mode": "balance-rr", "arp_ip_target": "+192.0.2.1", "arp_interval": "500"} {
		if got, _ := os.ReadFile(filepath.Join(dir, name)); string(got) != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}
