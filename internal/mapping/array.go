package mapping

import "strings"

// IsArrayUUID tells whether a text is the UUID of an array: 32 hexadecimal digits,
// with colons or dashes anywhere between.
func IsArrayUUID(text string) bool {
	digits := plain(text)
	return len(digits) == 32 && strings.Trim(digits, "0123456789abcdef") == ""
}

// SameArrayUUID tells whether two texts are one UUID.
func SameArrayUUID(a, b string) bool { return plain(a) == plain(b) }

func plain(uuid string) string {
	return strings.NewReplacer(":", "", "-", "").Replace(strings.ToLower(uuid))
}
