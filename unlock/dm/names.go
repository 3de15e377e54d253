package dm

import (
	"fmt"

	"latchkey/internal/mapping"
)

// A KeyRef names a volume key without holding it.
type KeyRef struct {
	Type      string // of the header: LUKS2 or LUKS1
	UUID      string // of the volume
	DigestID  int
	SizeBytes int
}

func (k KeyRef) check() error {
	if k.Type != "LUKS2" && k.Type != "LUKS1" || !mapping.IsUUID(k.UUID) || k.DigestID < 0 || k.DigestID > 31 {
		return fmt.Errorf("%.200q cannot name a key", fmt.Sprint(k))
	}
	return nil
}

// name is what cryptsetup calls the key of a volume
// (LUKS2_key_description_by_segment in lib/luks2/luks2_json_metadata.c).
// With another name `cryptsetup resize` would not find the key again.
func (k KeyRef) name() string { return fmt.Sprintf("cryptsetup:%s-d%d", k.UUID, k.DigestID) }

// mappingUUID is the device-mapper UUID of a mapping that uses the key.
func (k KeyRef) mappingUUID(name string) string { return mapping.DMUUID(k.Type, k.UUID, name) }
