// Package mapping holds the rules for what names a volume: the name of its
// mapping and the UUID of its header, and what lvm2 calls a logical volume. The plan, the records between PID 1
// and its children and device-mapper share them, so what an image accepts
// is what its boot can map.
package mapping

import (
	"fmt"
	"strings"
)

// MaxName is the longest name of a mapping, in bytes: what a record between
// PID 1 and the worker holds (boot/record.go). The kernel would take more:
// 128 bytes (DM_NAME_LEN in linux/dm-ioctl.h).
const MaxName = 63

// CheckName accepts what is a file name under /dev/mapper and needs no
// quoting in device-mapper, udev and systemd. "control" is device-mapper's
// own node.
func CheckName(name string) error {
	ok := len(name) > 0 && len(name) <= MaxName && name[0] != '.' && name[0] != '-' && name != "control"
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.+", c) >= 0)
	}
	if !ok {
		return fmt.Errorf("%.100q cannot be the name of a mapping: want 1 to %d letters, digits, '-', '_', '.' or '+', not beginning with '.' or '-'", name, MaxName)
	}
	return nil
}

// IsUUID accepts the canonical form only: 8-4-4-4-12 lower-case hex digits.
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
		if dash && c != '-' || !dash && !hex {
			return false
		}
	}
	return true
}

// DMUUID is the device-mapper UUID that cryptsetup gives a mapping
// (dm_prepare_uuid in lib/libdevmapper.c) and that systemd and lsblk know.
// kind is LUKS1 or LUKS2.
func DMUUID(kind, uuid, name string) string {
	return "CRYPT-" + kind + "-" + strings.ReplaceAll(uuid, "-", "") + "-" + name
}
