package lvm_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/testlan"
	"latchkey/unlock/lvm"
)

// real runs a script with lvm2 of a newer Debian on image files of 64 MiB.
func real(t *testing.T, script string, files ...string) string {
	t.Helper()
	root := testlan.DebianRoot(t)
	cmd := exec.Command("../../images/lvm", append([]string{root, script}, files...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("images/lvm: %v\n%s%s", err, out, stderr.Bytes())
	}
	return string(out)
}

// report is lvs --segments, as far as tables depend on it, in sectors.
type report struct {
	Report []struct {
		PV []struct {
			Name  string `json:"pv_name"`
			ID    string `json:"pv_uuid"`
			Start string `json:"pe_start"`
		}
		Seg []struct {
			Group, GroupID, Extent string
			VG                     string `json:"vg_uuid"`
			LV                     string `json:"lv_uuid"`
			Name                   string `json:"lv_full_name"`
			Type                   string `json:"segtype"`
			Start                  string `json:"seg_start"`
			Size                   string `json:"seg_size"`
			Stripes                string
			Stripe                 string `json:"stripe_size"`
			ExtentSize             string `json:"vg_extent_size"`
			Devices                string
			Attr                   string `json:"lv_attr"`
		}
	}
}

var areaRE = regexp.MustCompile(`(/dev/loop\d+)\((\d+)\)`)

// rows are the tables that lvm2's report means: those of libdm for linear
// and striped segments.
func (r report) rows(t *testing.T) map[string][]lvm.Row {
	t.Helper()
	starts := map[string]int{}
	for _, p := range r.Report[0].PV {
		starts[p.Name] = atoi(t, p.Start)
	}
	all := map[string][]lvm.Row{}
	for _, s := range r.Report[1].Seg {
		if s.Type != "linear" && s.Type != "striped" || strings.HasPrefix(s.Name, "[") {
			continue
		}
		var params []string
		if s.Type == "striped" {
			params = []string{s.Stripes, s.Stripe}
		}
		for _, a := range areaRE.FindAllStringSubmatch(s.Devices, -1) {
			params = append(params, a[1], strconv.Itoa(starts[a[1]]+atoi(t, a[2])*atoi(t, s.ExtentSize)))
		}
		all[s.Name] = append(all[s.Name], lvm.Row{Start: uint64(atoi(t, s.Start)), Sectors: uint64(atoi(t, s.Size)), Type: s.Type, Params: strings.Join(params, " ")})
	}
	return all
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const script = `exec 3>&1 1>&2
lvm pvcreate $1
lvm pvcreate --metadatasize 200k --dataalignment 3m --pvmetadatacopies 2 $2
lvm pvcreate --metadatacopies 0 --labelsector 3 $3
lvm vgcreate -s 1m my-vg $1 $2 $3
n() { lvm lvcreate -an -Zn -Wn -y "$@"; }
n -n root -l 5 my-vg $1
n -n two--stripes -i 2 -I 64k -l 8 my-vg $1 $2
n -n three -i 3 -I 4k -l 9 -pr my-vg
lvm lvextend -l +3 my-vg/root $3
lvm lvextend -l +2 my-vg/root $2
i=0; while [ $i -lt 30 ]; do i=$((i+1)); lvm lvrename my-vg three tmp; lvm lvrename my-vg tmp three; done # the text goes around its area
lvm pvs -o pv_name,pv_uuid,pe_start --units s --nosuffix --reportformat json >&3
lvm lvs -a --segments -o vg_uuid,lv_uuid,lv_full_name,lv_attr,segtype,seg_start,seg_size,stripes,stripe_size,vg_extent_size,devices --units s --nosuffix --reportformat json my-vg >&3
echo $1 $2 $3 >&3`

// TestReal compares with lvm2 itself: tables and UUIDs. Without
// device-mapper lvm2 makes linear and striped volumes only.
//
// compatible: Disks | lvm2 (Debian 13) | logical volumes have the tables, names and UUIDs that it gives them
func TestReal(t *testing.T) {
	var files []string
	for i := range 3 {
		f := filepath.Join(t.TempDir(), fmt.Sprint("pv", i))
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(f, 64<<20); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	out := real(t, script, files...)
	var want report
	dec := json.NewDecoder(strings.NewReader(out))
	for range 2 {
		var one report
		if err := dec.Decode(&one); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		want.Report = append(want.Report, one.Report...)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	loops := strings.Fields(lines[len(lines)-1])

	var pvs []*lvm.PV
	for i, f := range files {
		disk, err := os.Open(f)
		if err != nil {
			t.Fatal(err)
		}
		defer disk.Close()
		pv, err := lvm.Read(disk, loops[i], 64<<20)
		if err != nil || pv.ID.String() != want.Report[0].PV[i].ID {
			t.Fatalf("Read of %s = %+v, %v, want %s", f, pv, err, want.Report[0].PV[i].ID)
		}
		pvs = append(pvs, pv)
	}
	set := lvm.Assemble(pvs)
	if len(set.Problems) != 0 || len(set.Groups) != 1 {
		t.Fatalf("%d groups, problems %v", len(set.Groups), set.Problems)
	}
	compareReal(t, set, want)
}

func compareReal(t *testing.T, set *lvm.Set, want report) {
	t.Helper()
	rows := want.rows(t)
	got := map[string][]lvm.Row{}
	for _, v := range set.Visible() {
		table, err := v.Table(func(device string) string { return device })
		if err != nil {
			t.Error(err)
		}
		got[v.String()] = table
		if readOnly := strings.HasPrefix(v.Name, "three"); v.ReadOnly != readOnly {
			t.Errorf("%s: read-only is %t", v, v.ReadOnly)
		}
	}
	if diff := cmp.Diff(rows, got); diff != "" || len(got) != 3 {
		t.Errorf("the tables (-lvm2 +ours):\n%s", diff)
	}
	for _, s := range want.Report[1].Seg {
		if v := set.Find("my-vg", strings.TrimPrefix(s.Name, "my-vg/")); v != nil {
			if uuid := "LVM-" + strings.ReplaceAll(s.VG+s.LV, "-", ""); v.MappingUUID() != uuid {
				t.Errorf("%s has the UUID %s, want %s", s.Name, v.MappingUUID(), uuid)
			}
		}
	}
}
