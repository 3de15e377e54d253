package mapping

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
)

// What multipathd (UUID_PREFIX in libmultipath/devmapper.h) and kpartx
// (kpartx/devmapper.c) begin the device-mapper UUIDs of a disk and of its
// partitions with.
const multipathPrefix, partPrefix = "mpath-", "part"

// MultipathUUID is the device-mapper UUID of the disk with a WWID, or of one
// of its partitions, 0 for the disk. By it multipathd knows the mapping.
func MultipathUUID(wwid string, partition int) string {
	if partition > 0 {
		return fmt.Sprint(partPrefix, partition, "-", multipathPrefix, wwid)
	}
	return multipathPrefix + wwid
}

// SplitMultipath is the other way round; ok is false for any other mapping.
func SplitMultipath(uuid string) (wwid string, partition int, ok bool) {
	if rest, isPart := strings.CutPrefix(uuid, partPrefix); isPart {
		number, of, _ := strings.Cut(rest, "-")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n < 1 {
			return "", 0, false
		}
		partition, uuid = int(n), of
	}
	wwid, ok = strings.CutPrefix(uuid, multipathPrefix)
	return wwid, partition, ok && wwid != ""
}

// MultipathName is what a disk is called whose WWID is not in the plan: the
// WWID, as multipathd does, or a name made of it where that can be none.
// multipathd renames what it calls otherwise.
func MultipathName(wwid string) string {
	if CheckName(PartName(wwid, 128)) == nil {
		return wwid
	}
	return fmt.Sprintf("%s%x", multipathPrefix, sha256.Sum256([]byte(wwid)))[:len(multipathPrefix)+32]
}

// PartName is the name of a partition of a disk, 0 for the disk: that of
// multipathd's udev rules (kpartx -p -part).
func PartName(disk string, partition int) string {
	if partition == 0 {
		return disk
	}
	return fmt.Sprint(disk, "-part", partition)
}
