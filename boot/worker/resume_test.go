package worker_test

import (
	"strings"
	"testing"

	"latchkey/boot/boottest"
	"latchkey/boot/wire"
)

// swap is the first page of one, with the signature of mkswap or of a
// hibernated system.
func swap(signature string) []byte {
	b := make([]byte, 64<<10)
	copy(b[4096-10:], signature)
	copy(b[1024+12:], "0123456789abcdef") // UUID
	copy(b[1024+28:], "SWAP")
	return b
}

// The worker names the swap that resume= means, if it is in a volume that
// this boot opened, and says so if it is not.
func TestResume(t *testing.T) {
	const suspend, empty = "S1SUSPEND\x00", "SWAPSPACE2"
	for _, row := range []struct {
		name, holds    string
		image, cmdline string
		want, says     string // what the mapping holds; the line for people
	}{
		{"by mapping", suspend, "/dev/mapper/data", "", "swsuspend", ""},
		{"by the swap's UUID", suspend, "UUID=30313233-3435-3637-3839-616263646566", "", "swsuspend", ""},
		{"by its label", empty, "LABEL=SWAP", "", "swap", ""},
		{"by the volume's UUID", empty, "UUID=" + boottest.DataUUID, "", "swap", ""},
		{"by the command line", suspend, "", "resume=/dev/mapper/data", "swsuspend", ""},
		{"a swap file in the root", suspend, "/dev/mapper/root", "", "ext4", ""},
		{"not asked for", suspend, "", "", "", ""},
		{"noresume", suspend, "/dev/mapper/data", "noresume", "", ""},
		{"hibernate=noresume", suspend, "/dev/mapper/data", "hibernate=noresume", "", ""},
		{"a swap that is not encrypted", suspend, "", "resume=/dev/sda3", "", "resume=/dev/sda3 is none of the opened volumes"},
		{"the command line is wrong, the image is not", suspend, "/dev/mapper/data", "resume=LABEL=OTHER", "swsuspend", "resume=LABEL=OTHER is none of the opened volumes"},
		{"a logical volume that is not there", suspend, "/dev/vg/swap", "", "", "resume=/dev/vg/swap is none of the opened volumes"},
	} {
		run(t, row.name, func() *boottest.Machine {
			m := boottest.New("kms")
			addData(m, false, "kms")
			m.Inside = map[string][]byte{"data": swap(row.holds)}
			m.Plan.Resume, m.Cmdline = row.image, row.cmdline
			return m
		}, func(t *testing.T, m *boottest.Machine, said []wire.Record) {
			var holds, says string
			for _, r := range said {
				switch {
				case r.Kind == wire.KindSwap:
					holds = r.Text
				case r.Kind == wire.KindWaiting && r.Code == "resume-missing":
					says += r.Text
				}
			}
			if holds != row.want || !strings.Contains(says, row.says) || (says == "") != (row.says == "") || boottest.Failure(said) != "" {
				t.Errorf("the mapping holds %q, want %q; says %q, want %q:\n%s", holds, row.want, says, row.says, story(said))
			}
		})
	}
}
