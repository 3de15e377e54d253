package dm

import "fmt"

// maxName leaves room for "CRYPT-LUKS2-", 32 digits and a dash in the 128
// characters of DM_UUID_LEN (linux/dm-ioctl.h).
const maxName = 128 - 12 - 32 - 1

// checkName accepts what is a file name under /dev/mapper and needs no
// quoting there: udev and libdevmapper mangle anything else.
func checkName(name string) error {
	ok := len(name) > 0 && len(name) <= maxName && name[0] != '.' && name != "control"
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '+')
	}
	if !ok {
		return fmt.Errorf("%.100q cannot be the name of a mapping", name)
	}
	return nil
}

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

// keyName is the name that cryptsetup gives the key of a volume
// (LUKS2_key_description_by_segment in lib/luks2/luks2_json_metadata.c).
// With another one `cryptsetup resize` would not find the key again.
func keyName(volume string, digestID int) string {
	return fmt.Sprintf("cryptsetup:%s-d%d", volume, digestID)
}
