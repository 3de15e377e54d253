package md_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"latchkey/internal/testlan"
	"latchkey/unlock/md"
	"latchkey/unlock/md/mdtest"
)

// examine has mdadm of a newer Debian read image files: what it says of each,
// by the file's name.
func examine(t *testing.T, files map[string][]byte) map[string]string {
	t.Helper()
	root, dir := testlan.DebianRoot(t), t.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const script = `mount -t tmpfs tmpfs "$1/tmp" && mkdir "$1/tmp/md" && mount --bind "$2" "$1/tmp/md" && cd "$2"
for f in *; do echo "/tmp/md/$f"; done | xargs chroot "$1" mdadm --examine 2>&1`
	out, err := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", root, dir).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "/tmp/md/") {
		t.Fatalf("mdadm --examine: %v\n%s", err, out)
	}
	said := map[string]string{}
	for _, part := range strings.Split("\n"+string(out), "\n/tmp/md/")[1:] {
		name, text, _ := strings.Cut(part, ":\n")
		said[name] = text
	}
	return said
}

var (
	eventsRE = regexp.MustCompile(`Events : (?:(\d+)\.)?(\d+)`)
	roleRE   = regexp.MustCompile(`Device Role : (Active device (\d+)|spare|Journal)|(?m:^this +\d+ +\d+ +\d+ +(\d+))`)
)

// TestExamine: mdadm reads out of a superblock what is read here, of those
// that it made itself, and of those that the tests make.
//
// compatible: Disks | mdadm (Debian 13) | superblocks of software RAID are read as it reads them
func TestExamine(t *testing.T) {
	files := recorded(t)
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		for _, level := range []int{0, 1, 4, 5, 6, 10} {
			m := mdtest.Member{Version: version, Level: level, Places: 4, Number: 2, Events: 1<<32 + 6, Minor: 3, Made: 1, Data: make([]byte, 1<<20)}
			if level == 10 {
				m.Layout = 0x102
			}
			if version != "0.90" {
				m.Name = "till:root"
			}
			files[fmt.Sprintf("%s-raid%d", version, level)] = m.Device()
		}
	}
	said := examine(t, files)
	for name, b := range files {
		m := read(t, name, b)
		want := []string{fmt.Sprintf("Raid Level : raid%d\n", m.Level), fmt.Sprintf("Raid Devices : %d\n", m.Places), "UUID : " + m.UUID + "\n", "Version : " + m.Version, " - correct"}
		if m.Name != "" {
			want = append(want, "Name : "+m.Name+"\n")
		}
		for _, w := range want {
			if !strings.Contains(said[name], w) {
				t.Fatalf("%s: mdadm does not say %q:\n%s", name, w, said[name])
			}
		}
		var high, low uint64
		if e := eventsRE.FindStringSubmatch(said[name]); e != nil {
			fmt.Sscan(e[1], &high)
			fmt.Sscan(e[2], &low)
		}
		if m.Events != high<<32+low {
			t.Errorf("%s: Events = %d, mdadm has %d and %d:\n%s", name, m.Events, high, low, said[name])
		}
		place := -9
		if r := roleRE.FindStringSubmatch(said[name]); r != nil {
			fmt.Sscan(r[2]+r[3], &place)
			place = map[bool]int{true: place}[r[1] != "spare" && r[1] != "Journal"] + map[string]int{"spare": md.Spare, "Journal": md.Journal}[r[1]]
		}
		if m.Place != place {
			t.Errorf("%s: Place = %d, mdadm has %d:\n%s", name, m.Place, place, said[name])
		}
	}
}

// TestExamineRefused: mdadm takes none of what is damaged here, either.
func TestExamineRefused(t *testing.T) {
	files := map[string][]byte{}
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		b := mdtest.Member{Version: version, Level: 1, Places: 2, Data: make([]byte, 1<<20)}.Device()
		b[mdtest.Offset(version, len(b))+20]++
		files[version] = b
	}
	said := examine(t, files)
	for name, b := range files {
		if _, err := md.Read(strings.NewReader(string(b)), name, int64(len(b))); !errors.Is(err, md.ErrDamaged) || strings.Contains(said[name], " - correct") {
			t.Errorf("%s: Read = %v, mdadm says:\n%s", name, err, said[name])
		}
	}
}
