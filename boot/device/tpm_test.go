package device_test

import (
	"os"
	"path/filepath"
	"testing"

	"latchkey/boot/device"
)

// TestMayHaveTPM: only a machine whose firmware describes it, and names no
// TPM, has none.
func TestMayHaveTPM(t *testing.T) {
	for _, row := range []struct {
		name  string
		files map[string]string
		want  bool
	}{
		{"nothing is known", nil, true},
		{"ACPI without a TPM", map[string]string{"firmware/acpi/tables/DSDT": "", "bus/acpi/devices/PNP0501:00/hid": ""}, false},
		{"table TPM2", map[string]string{"firmware/acpi/tables/TPM2": ""}, true},
		{"the second table TPM2", map[string]string{"firmware/acpi/tables/TPM21": ""}, true},
		{"table TCPA", map[string]string{"firmware/acpi/tables/TCPA": ""}, true},
		{"a device of ACPI", map[string]string{"firmware/acpi/tables/DSDT": "", "bus/acpi/devices/MSFT0101:00/hid": ""}, true},
		{"device tree without a TPM", map[string]string{"firmware/devicetree/base/compatible": "raspberrypi,4-model-b\x00", "firmware/devicetree/base/soc/spi/compatible": "brcm,bcm2835-spi\x00"}, false},
		{"device tree with a TPM", map[string]string{"firmware/devicetree/base/soc/spi/tpm@0/compatible": "infineon,slb9670\x00tcg,tpm_tis-spi\x00"}, true},
		{"device tree with a Cr50", map[string]string{"firmware/devicetree/base/i2c/h1@50/compatible": "google,cr50\x00"}, true},
		{"both, a TPM in neither", map[string]string{"firmware/acpi/tables/DSDT": "", "firmware/devicetree/base/compatible": "linux,dummy-virt\x00"}, false},
		{"a guest of Xen", map[string]string{"firmware/acpi/tables/DSDT": "", "hypervisor/type": "xen\n"}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			sys := t.TempDir()
			for name, text := range row.files {
				path := filepath.Join(sys, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := device.MayHaveTPM(sys); got != row.want {
				t.Errorf("MayHaveTPM = %t, want %t", got, row.want)
			}
		})
	}
}
