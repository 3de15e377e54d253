package home_test

import (
	"testing"

	"latchkey/kms/config"
	"latchkey/kms/home"
)

// Only the store in a cluster is for so many machines: docs/stores.md.
func TestMaxMachines(t *testing.T) {
	for kind, want := range map[config.PlaceKind]int{config.Bolt: 0, config.Etcd: 0, config.Kube: 5000} {
		if got := home.MaxMachines(kind); got != want {
			t.Errorf("MaxMachines(%s) = %d, want %d", kind, got, want)
		}
	}
}
