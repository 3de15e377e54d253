package md_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/unlock/md"
	"latchkey/unlock/md/mdtest"
)

// recorded are the members that mdadm 4.4 made on Linux 6.1 with the commands
// of testdata/record.txt, on disks of 8 MiB: the sectors that are not empty.
func recorded(t testing.TB) map[string][]byte {
	t.Helper()
	f, err := os.Open("testdata/members.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][]byte{}
	var device []byte
	for lines := bufio.NewScanner(f); lines.Scan(); {
		first, second, _ := strings.Cut(lines.Text(), " ")
		n := 0
		if strings.HasPrefix(first, "vd") {
			fmt.Sscan(second, &n)
			device = make([]byte, n)
			all[first] = device
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(second)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Sscan(first, &n)
		copy(device[n:], raw)
	}
	return all
}

func read(t testing.TB, device string, b []byte) *md.Member {
	t.Helper()
	m, err := md.Read(bytes.NewReader(b), device, int64(len(b)))
	if err != nil {
		t.Fatalf("Read(%s) = %v", device, err)
	}
	return m
}

// names are those of devices, in one string.
func names(members []*md.Member) string {
	var all []string
	for _, m := range members {
		all = append(all, m.Device)
	}
	return strings.Join(all, " ")
}

// TestRecorded: arrays that mdadm and the kernel made are what they say.
func TestRecorded(t *testing.T) {
	var members []*md.Member
	for device, b := range recorded(t) {
		members = append(members, read(t, device, b))
	}
	got := map[string]string{}
	for _, a := range md.Arrays(members) {
		text := fmt.Sprintf("%d %s", a.Number(), names(a.Members))
		if len(a.Old) > 0 {
			text += "; old " + names(a.Old)
		}
		if !a.Whole() {
			text += "; not whole"
		}
		if a.Problem != nil {
			text = a.Problem.Error()
		}
		if d := a.Degraded(); d != "" {
			text += "; " + d
		}
		got[fmt.Sprintf("%s %s", a.Newest.Version, a)] = text
	}
	stale := "array raid1 till:stale (" + uuidOf(members, "vdr") + ")"
	journal := "array raid5 till:journal (" + uuidOf(members, "vdt") + ")"
	want := map[string]string{
		"0.90 array raid1 " + uuidOf(members, "vda"):                 "0 vda vdb",
		"1.0 array raid1 till:boot (" + uuidOf(members, "vdc") + ")": "-1 vdc vdd",
		"1.1 array raid5 till:five (" + uuidOf(members, "vde") + ")": "-1 vde vdf vdg",
		"1.2 array raid10 till:3 (" + uuidOf(members, "vdh") + ")":   "3 vdh vdi vdj vdk",
		"1.2 array raid6 till:six (" + uuidOf(members, "vdl") + ")":  "-1 vdl vdm vdn vdo",
		"1.2 array raid0 any:zero (" + uuidOf(members, "vdp") + ")":  "-1 vdp vdq",
		"1.2 array raid4 till:four (" + uuidOf(members, "vdx") + ")": "-1 vdx vdy vdz",
		"1.2 " + stale:   "-1 vdr; old vds; " + stale + " runs without member 1 of 2",
		"1.2 " + journal: journal + ": it has a write journal: that needs mdadm, and is left alone",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the arrays differ (-want +got):\n%s", diff)
	}
}

func uuidOf(members []*md.Member, device string) string {
	for _, m := range members {
		if m.Device == device {
			return m.UUID
		}
	}
	return ""
}

// TestVersions: each format is found where it is, and nowhere else: not a
// byte further, and not on a device of another size.
func TestVersions(t *testing.T) {
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		b := mdtest.Member{Version: version, Name: "till:root", Level: 1, Places: 2, Number: 1, Events: 5<<32 + 7, Data: make([]byte, 1<<20)}.Device()
		m := read(t, "vda", b)
		if m.Version != version || m.UUID != mdtest.UUID || m.Level != 1 || m.Places != 2 || m.Place != 1 || !m.InSync || !m.Clean || m.Events != 5<<32+7 {
			t.Errorf("Read of %s = %+v", version, m)
		}
		moved := append(make([]byte, 512), b...)
		if _, err := md.Read(bytes.NewReader(moved), "vda", int64(len(moved))); !errors.Is(err, md.ErrNone) {
			t.Errorf("Read of %s, moved by a sector = %v, want %v", version, err, md.ErrNone)
		}
		cut := b[:len(b)-64<<10]
		if m, err := md.Read(bytes.NewReader(cut), "vda", int64(len(cut))); err == nil {
			t.Errorf("Read of %s on a device that was cut = %v, want an error", version, m)
		}
	}
}

// patchy is a device that fails to read some bytes.
type patchy struct {
	*bytes.Reader
	from, to int64
}

func (p patchy) ReadAt(b []byte, off int64) (int, error) {
	if off < p.to && off+int64(len(b)) > p.from {
		return 0, errors.New("input/output error")
	}
	return p.Reader.ReadAt(b, off)
}

// TestBadSectors: a bad sector beside a superblock hides nothing, and one in
// it makes the device no member, as it is none to mdadm.
func TestBadSectors(t *testing.T) {
	for _, tt := range []struct {
		version string
		from    int64 // from the superblock on
		want    error
	}{
		{"0.90", 8192, nil},
		{"1.0", -8192, nil},
		{"1.1", 4096, nil},
		{"1.2", -512, nil},
		{"1.0", 0, md.ErrNone},
	} {
		b := mdtest.Member{Version: tt.version, Level: 1, Places: 2, Data: make([]byte, 1<<20)}.Device()
		at := int64(mdtest.Offset(tt.version, len(b))) + tt.from
		m, err := md.Read(patchy{bytes.NewReader(b), at, at + 512}, "vda", int64(len(b)))
		if !errors.Is(err, tt.want) || tt.want == nil && (err != nil || m.Version != tt.version) {
			t.Errorf("Read of %s with a bad sector %d bytes from it = %+v, %v, want %v", tt.version, tt.from, m, err, tt.want)
		}
	}
}

// TestLast: of two superblocks on one device the later array's counts.
func TestLast(t *testing.T) {
	for _, tt := range []struct {
		made uint64
		want string
	}{{1, "1.2"}, {9, "1.0"}} {
		b := mdtest.Member{Version: "1.2", Level: 1, Places: 2, Made: 5, Data: make([]byte, 1<<20)}.Device()
		old := mdtest.Member{Version: "1.0", UUID: strings.Replace(mdtest.UUID, "0c", "ff", 1), Level: 1, Places: 2, Made: tt.made, Bytes: len(b)}.Device()
		copy(b[mdtest.Offset("1.0", len(b)):], old[mdtest.Offset("1.0", len(b)):])
		if m := read(t, "vda", b); m.Version != tt.want {
			t.Errorf("Read with 1.2 of time 5 and 1.0 of time %d = %s, want %s", tt.made, m.Version, tt.want)
		}
	}
}

// TestWholeDisk: the superblock of 0.90 is at one place for a disk and its
// last partition; the size in it tells whose it is.
func TestWholeDisk(t *testing.T) {
	disk := mdtest.Member{Version: "0.90", Level: 1, Places: 2, Bytes: 4 << 20}.Device()
	partition := disk[1<<20:]
	if _, err := md.Read(bytes.NewReader(partition), "vda1", int64(len(partition))); !errors.Is(err, md.ErrNone) {
		t.Errorf("Read of the last partition of a member = %v, want %v", err, md.ErrNone)
	}
	disk = append(make([]byte, 1<<20), mdtest.Member{Version: "0.90", Level: 1, Places: 2, Bytes: 3 << 20}.Device()...)
	if m := read(t, "vda1", disk[1<<20:]); m.Place != 0 {
		t.Errorf("Read of a last partition that is a member = %+v", m)
	}
}

// TestFirmware: what a controller's firmware made is recognized.
func TestFirmware(t *testing.T) {
	for _, tt := range []struct {
		fromEnd   int
		signature string
		want      string
	}{
		{1024, "Intel Raid ISM Cfg Sig. 1.2.00", "vda: it is Intel firmware RAID (IMSM): that needs mdadm, and is left alone"},
		{8192, "Intel Raid ISM Cfg Sig. 1.2.00", "vda: it is Intel firmware RAID (IMSM): that needs mdadm, and is left alone"},
		{512, "\xde\x11\xde\x11", "vda: it is firmware RAID (DDF): that needs mdadm, and is left alone"},
	} {
		b := make([]byte, 1<<20)
		copy(b[len(b)-tt.fromEnd:], tt.signature)
		all := md.Arrays([]*md.Member{read(t, "vda", b)})
		if len(all) != 1 || all[0].Problem == nil || all[0].Problem.Error() != tt.want || !errors.Is(all[0].Problem, md.ErrUnsupported) {
			t.Errorf("Arrays with %q = %v, want %q", tt.signature, all[0].Problem, tt.want)
		}
		if _, err := md.Read(bytes.NewReader(b[:len(b)-512]), "vda", int64(len(b)-512)); !errors.Is(err, md.ErrNone) && tt.fromEnd != 8192 {
			t.Errorf("Read with %q elsewhere = %v, want %v", tt.signature, err, md.ErrNone)
		}
	}
}
