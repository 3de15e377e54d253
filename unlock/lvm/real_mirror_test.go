package lvm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/unlock/lvm"
)

// mirrorScript has lvm2 write the metadata of a mirror, which without
// device-mapper it makes of a backup only, and tell what it reads in it.
const mirrorScript = `exec 3>&1 1>&2
lvm pvcreate $1
lvm pvcreate $2
lvm vgcreate -s 1m my-vg $1 $2
lvm vgcfgbackup -f /tmp/vg my-vg
lv() { echo "$1 { id = \"$2-N4Of-0Krp-qFr9-Y80h-eGlz-Sd2fKH\" status = [\"READ\", \"WRITE\"${3-}] flags = []"; }
on() { echo "segment$1 { start_extent = $2 extent_count = $3 type = \"striped\" stripe_count = 1 stripes = [ \"$4\", $5 ] }"; }
{
	sed '$d' $root/tmp/vg
	echo 'logical_volumes {'
	lv root rrrrrr ', "VISIBLE"'
	echo 'segment_count = 1 segment1 { start_extent = 0 extent_count = 10 type = "raid1" device_count = 2 region_size = 1024'
	echo 'writebehind = 512 min_recovery_rate = 1024 max_recovery_rate = 2048'
	echo 'raids = [ "root_rmeta_0", "root_rimage_0", "root_rmeta_1", "root_rimage_1" ] } }'
	lv root_rmeta_0 aaaaaa; echo 'segment_count = 1'; on 1 0 1 pv0 3; echo '}'
	lv root_rimage_0 bbbbbb; echo 'segment_count = 2'; on 1 0 4 pv0 20; on 2 4 6 pv0 7; echo '}'
	lv root_rmeta_1 cccccc; echo 'segment_count = 1'; on 1 0 1 pv1 0; echo '}'
	lv root_rimage_1 dddddd ', "WRITEMOSTLY"'; echo 'segment_count = 1'; on 1 0 10 pv1 1; echo '}'
	echo '} }'
} >$root/tmp/raid
lvm vgcfgrestore -f /tmp/raid my-vg
lvm lvs -a --segments -o lv_name,segtype,seg_start,seg_size,devices,metadata_devices,regionsize,raid_min_recovery_rate,raid_max_recovery_rate,raid_write_behind --units s --nosuffix --noheadings --separator ';' my-vg >&3
echo "$1;$2" >&3`

// TestRealMirror compares with lvm2 itself: what a mirror's parts are, and
// where they lie.
func TestRealMirror(t *testing.T) {
	var files []string
	for i := range 2 {
		f := filepath.Join(t.TempDir(), fmt.Sprint("pv", i))
		if err := os.WriteFile(f, make([]byte, 64<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	lines := strings.Split(strings.TrimSpace(real(t, mirrorScript, files...)), "\n")
	loops := strings.Split(lines[len(lines)-1], ";")

	want := map[string][]lvm.Row{}
	for _, line := range lines[:len(lines)-1] {
		f := strings.Split(strings.TrimSpace(line), ";")
		name, r := strings.Trim(f[0], "[]"), lvm.Row{Start: uint64(atoi(t, f[2])), Sectors: uint64(atoi(t, f[3])), Type: f[1]}
		if r.Type == "linear" {
			a := areaRE.FindStringSubmatch(f[4])
			r.Params = fmt.Sprint(a[1], " ", 2048+2048*atoi(t, a[2]))
		} else {
			images, metas := strings.Split(f[4], ","), strings.Split(f[5], ",")
			r.Type, r.Params = "raid", fmt.Sprintf("raid1 11 0 min_recovery_rate %s max_recovery_rate %s write_mostly 1 max_write_behind %s region_size %s 2", f[7], f[8], f[9], f[6])
			for i := range images {
				r.Params += " my--vg-" + strings.TrimSuffix(metas[i], "(0)") + " my--vg-" + strings.TrimSuffix(images[i], "(0)")
			}
		}
		want[name] = append(want[name], r)
	}

	var pvs []*lvm.PV
	for i, f := range files {
		disk, err := os.Open(f)
		if err != nil {
			t.Fatal(err)
		}
		defer disk.Close()
		pv, err := lvm.Read(disk, loops[i], 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		pvs = append(pvs, pv)
	}
	v := lvm.Assemble(pvs).Find("my-vg", "root")
	if v == nil || v.Usable() != nil {
		t.Fatalf("my-vg/root = %v in %v", v, want)
	}
	got := map[string][]lvm.Row{}
	for _, p := range append(v.Parts(), v) {
		rows, err := p.Table(func(device string) string { return device })
		if err != nil {
			t.Fatal(err)
		}
		got[p.Name] = rows
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the tables (-lvm2 +ours):\n%s", diff)
	}
}
