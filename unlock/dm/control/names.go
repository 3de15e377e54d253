package control

import "fmt"

// maxName leaves room for "CRYPT-LUKS2-", 32 digits and a dash in the 128
// characters of DM_UUID_LEN (linux/dm-ioctl.h).
const maxName = 128 - 12 - 32 - 1

// CheckName accepts what is a file name under /dev/mapper and needs no
// quoting there: udev and libdevmapper mangle anything else.
func CheckName(name string) error {
	ok := len(name) > 0 && len(name) <= maxName && name[0] != '.' && name != "control"
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '+')
	}
	if !ok {
		return fmt.Errorf("%.100q cannot be the name of a mapping", name)
	}
	return nil
}
