package device

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// acpiTPMs are the IDs that the kernel's TPM drivers match beside the tables
// TPM2 and TCPA: drivers/char/tpm.
var acpiTPMs = []string{"MSFT0101", "PNP0C31", "SMO0768", "GOOG0005"}

// MayHaveTPM tells whether a TPM may still appear: false if the firmware
// describes the machine, by ACPI or a device tree, and names none. sys is
// "/sys" but for tests.
func MayHaveTPM(sys string) bool {
	if _, err := os.Stat(filepath.Join(sys, "hypervisor/type")); err == nil {
		return true // Xen's come by xenbus
	}

	tables, noACPI := os.ReadDir(filepath.Join(sys, "firmware/acpi/tables"))
	for _, t := range tables {
		if strings.HasPrefix(t.Name(), "TPM2") || strings.HasPrefix(t.Name(), "TCPA") {
			return true
		}
	}
	devices, _ := os.ReadDir(filepath.Join(sys, "bus/acpi/devices"))
	for _, d := range devices {
		for _, id := range acpiTPMs {
			if strings.HasPrefix(d.Name(), id) {
				return true
			}
		}
	}

	base := filepath.Join(sys, "firmware/devicetree/base")
	_, noTree := os.Stat(base)
	return noACPI != nil && noTree != nil || treeHasTPM(base)
}

// treeHasTPM looks for a node that is compatible with a TPM
// (Documentation/devicetree/bindings/tpm), enabled or not.
func treeHasTPM(base string) (found bool) {
	filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "compatible" {
			return nil
		}
		text, err := os.ReadFile(path)
		if found = err != nil || bytes.Contains(text, []byte("tpm")) || bytes.Contains(text, []byte("cr50")); found {
			return fs.SkipAll
		}
		return nil
	})
	return found
}
