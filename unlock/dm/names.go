package dm

import (
	"fmt"
	"strings"
)

// isUUID accepts the canonical lower-case form only.
func isUUID(s string) bool {
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

// A KeyRef names a volume key without holding it.
type KeyRef struct {
	Type      string // of the header: LUKS2 or LUKS1
	UUID      string // of the volume
	DigestID  int
	SizeBytes int
}

func (k KeyRef) check() error {
	if k.Type != "LUKS2" && k.Type != "LUKS1" || !isUUID(k.UUID) || k.DigestID < 0 || k.DigestID > 31 || k.SizeBytes != 64 && k.SizeBytes != 32 {
		return fmt.Errorf("%.200q cannot name a key", fmt.Sprint(k))
	}
	return nil
}

// name is what cryptsetup calls the key of a volume
// (LUKS2_key_description_by_segment in lib/luks2/luks2_json_metadata.c).
// With another name `cryptsetup resize` would not find the key again.
func (k KeyRef) name() string { return fmt.Sprintf("cryptsetup:%s-d%d", k.UUID, k.DigestID) }

// mappingUUID is the device-mapper UUID that cryptsetup gives a mapping
// (dm_prepare_uuid in lib/libdevmapper.c) and that systemd and lsblk know.
func (k KeyRef) mappingUUID(name string) string {
	return "CRYPT-" + k.Type + "-" + strings.ReplaceAll(k.UUID, "-", "") + "-" + name
}
