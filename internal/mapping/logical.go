package mapping

import "strings"

// maxLVMName is NAME_LEN in lvm2's lib/metadata/metadata-exported.h less the
// zero behind it, in bytes.
const maxLVMName = 127

// IsLVMName accepts what lvm2 takes as the name of a group or a logical
// volume: validate_name in lib/misc/lvm-string.c.
func IsLVMName(name string) bool {
	ok := name != "" && len(name) <= maxLVMName && name != "." && name != ".." && name[0] != '-'
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.+", c) >= 0)
	}
	return ok
}

// LogicalName is the name that lvm2 gives the mapping of a logical volume:
// dm_build_dm_name in libdm/libdm-string.c.
func LogicalName(group, volume string) string {
	double := strings.NewReplacer("-", "--")
	return double.Replace(group) + "-" + double.Replace(volume)
}

// SplitLogical is the other way round; ok is false for a name that lvm2 does
// not give.
func SplitLogical(name string) (group, volume string, ok bool) {
	for i := 0; i < len(name); i++ {
		if name[i] != '-' {
			continue
		}
		if i+1 < len(name) && name[i+1] == '-' {
			i++ // two stand for one
			continue
		}
		single := strings.NewReplacer("--", "-")
		group, volume = single.Replace(name[:i]), single.Replace(name[i+1:])
		return group, volume, IsLVMName(group) && IsLVMName(volume) && LogicalName(group, volume) == name
	}
	return "", "", false
}

// IsLogical accepts what lvm2 gives the mapping of a logical volume as its
// device-mapper UUID: LVM- and the 32 characters each of group and volume
// (build_dm_uuid in lib/activate/dev_manager.c).
func IsLogical(uuid string) bool {
	ids, ok := strings.CutPrefix(uuid, "LVM-")
	if !ok || len(ids) != 64 {
		return false
	}
	return !strings.ContainsFunc(ids, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '!' || c == '#')
	})
}
