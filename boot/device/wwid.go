package device

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxWWID leaves room for "part128-mpath-" in DM_UUID_LEN of
// linux/dm-ioctl.h, in bytes.
const maxWWID = 112

// wwid is the identity of a disk that another disk does not have, as
// multipathd calls it; "" if it has none. A serial number is none: virtual
// machines and adapters for USB give one to several disks.
func wwid(disk string) string {
	text, _ := os.ReadFile(filepath.Join(disk, "wwid")) // of a namespace of NVMe: drivers/nvme/host/core.c
	name := strings.TrimSpace(string(text))
	if page, err := os.ReadFile(filepath.Join(disk, "device/vpd_pg83")); err == nil {
		name = designator(page)
	}
	printable := !strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || c == '/' })
	if _, id, _ := strings.Cut(name, "."); len(name) > maxWWID || !printable || strings.Trim(id, "0-") == "" && strings.Contains(name, ".") {
		return ""
	}
	return name
}

// designator is the best of the names in a device identification page that
// are the logical unit's own (SPC-5, 7.7.6): NAA before EUI-64, SCSI names and
// T10 vendor identification. How each is written is multipath-tools'
// (parse_vpd_pg83 in libmultipath/discovery.c) and scsi_id(8)'s.
func designator(page []byte) string {
	if len(page) < 4 {
		return ""
	}
	list := page[4:min(len(page), 4+int(page[2])<<8+int(page[3]))]
	best, name := 0, ""
	for len(list) >= 4 && len(list) >= 4+int(list[3]) {
		kind, id := list[1]&0x3f, list[4:4+int(list[3])] // with the association, of which 0 is the logical unit
		list = list[4+len(id):]
		if rank, text := rankOf(kind, id); rank > best {
			best, name = rank, text
		}
	}
	return name
}

// rankOf is how good a designator is, 0 for one that does not count, and how
// it is written.
func rankOf(kind byte, id []byte) (rank int, text string) {
	if len(bytes.Trim(id, "\x00")) == 0 {
		return 0, ""
	}
	sizes := map[byte]int{6: 16, 5: 8, 2: 8} // by the kind of NAA; 3 is assigned by whoever likes
	switch naa := id[0] >> 4; {
	case kind == 3 && sizes[naa] == len(id):
		return 4 + int(naa), "3" + hex.EncodeToString(id)
	case kind == 2 && slices.Contains([]int{8, 12, 16}, len(id)):
		return 4, "2" + hex.EncodeToString(id)
	case kind == 8 && len(id) > 4:
		text, _, _ = strings.Cut(string(id), "\x00")
		for prefix, digit := range map[string]string{"eui.": "2", "naa.": "3", "iqn.": "8"} {
			if rest, ok := strings.CutPrefix(text, prefix); ok && digit == "8" {
				return 3, digit + rest
			} else if ok {
				return 3, digit + strings.ToLower(rest)
			}
		}
	case kind == 1 && len(id) > 8: // the vendor's name alone is no identity
		return 2, "1" + strings.Join(strings.FieldsFunc(string(id), func(c rune) bool { return c == ' ' }), "_")
	}
	return 0, ""
}

// port tells whether the ports of a disk have states (TPGS in the inquiry,
// SPC-5, 6.7.2), and how far it is from being the one that the disk likes best:
// 0 for that one, or if nobody knows. scsi_dh_alua knows, once it is loaded.
func port(disk string) (alua bool, rank int) {
	if inquiry, err := os.ReadFile(filepath.Join(disk, "device/inquiry")); err == nil && len(inquiry) > 5 {
		alua = inquiry[5]&0x30 != 0
	}
	state, err := os.ReadFile(filepath.Join(disk, "device/access_state"))
	switch text := strings.TrimSpace(string(state)); {
	case err != nil || text == "active/optimized":
		return alua, 0
	case text == "active/non-optimized":
		return alua, 1
	}
	return alua, 2
}
