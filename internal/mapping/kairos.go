package mapping

import (
	"crypto/sha1"
	"fmt"
)

// KairosUUID is the UUID that Kairos gives the volume in the partition of a
// label, on every machine the same: version 5 in the namespace of URLs (RFC
// 9562, section 5.5 and table 4).
func KairosUUID(label string) string {
	const urls = "\x6b\xa7\xb8\x11\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8"
	u := sha1.Sum([]byte(urls + label))
	u[6], u[8] = u[6]&0x0f|0x50, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
