package mapping

import "strings"

// Path is the device node of what a boot calls by a name: that of a mapping,
// or, for an array of md, the path of its node itself. No mapping has a slash
// in its name (check_name in drivers/md/dm-ioctl.c).
func Path(name string) string {
	if IsArray(name) {
		return name
	}
	return "/dev/mapper/" + name
}

// IsArray accepts the node of an array: "/dev/md127".
func IsArray(name string) bool {
	number, ok := strings.CutPrefix(name, "/dev/md")
	return ok && number != "" && len(number) < 8 && strings.Trim(number, "0123456789") == ""
}
