package mapping_test

import (
	"strings"
	"testing"

	"latchkey/internal/mapping"
)

// TestMultipath: what multipathd and kpartx call disks and partitions, and
// that nothing else is taken for one.
func TestMultipath(t *testing.T) {
	const wwid = "36001405c0ffee0000000000000000001"
	for partition, want := range map[int]string{0: "mpath-" + wwid, 2: "part2-mpath-" + wwid, 128: "part128-mpath-" + wwid} {
		uuid := mapping.MultipathUUID(wwid, partition)
		if w, n, ok := mapping.SplitMultipath(uuid); uuid != want || w != wwid || n != partition || !ok {
			t.Errorf("MultipathUUID(%d) = %q, want %q, which is %q %d %t", partition, uuid, want, w, n, ok)
		}
	}
	for _, uuid := range []string{"", "mpath-", "part0-mpath-x", "part-1-mpath-x", "partx-mpath-x", "part1-", "part1-LVM-x", "part99999-mpath-x", "CRYPT-LUKS2-x-mpath-y", "LVM-x"} {
		if _, _, ok := mapping.SplitMultipath(uuid); ok {
			t.Errorf("SplitMultipath(%q) takes it for a disk's", uuid)
		}
	}
}

// TestMultipathName: the WWID where that can be a name, also with the number of
// a partition behind it.
func TestMultipathName(t *testing.T) {
	for wwid, want := range map[string]string{
		"36001405c0ffee0000000000000000001": "36001405c0ffee0000000000000000001",
		"1ATA_DISK_1":                       "1ATA_DISK_1",
		strings.Repeat("x", 56):             "mpath-",
		"82003-01.org:x,t,0x1":              "mpath-",
	} {
		got := mapping.MultipathName(wwid)
		hashed := want == "mpath-" && strings.HasPrefix(got, want) && len(got) == 38
		if err := mapping.CheckName(mapping.PartName(got, 128)); got != want && !hashed || err != nil {
			t.Errorf("MultipathName(%q) = %q, want %q: %v", wwid, got, want, err)
		}
	}
	if a, b := mapping.MultipathName(strings.Repeat("x", 60)), mapping.MultipathName(strings.Repeat("y", 60)); a == b {
		t.Errorf("two disks are called %s", a)
	}
	if got := mapping.PartName("mpatha", 3); got != "mpatha-part3" {
		t.Errorf("PartName = %q", got)
	}
}
