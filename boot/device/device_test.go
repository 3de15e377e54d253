package device_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/boot/device"
)

const uuid = "01234567-89ab-cdef-0123-456789abcdef"

// TestProbe has the real tools make what Probe must recognize.
func TestProbe(t *testing.T) {
	for _, tt := range []struct {
		name string
		make []string // a command; FILE is an empty image
		want device.Super
	}{
		{"ext4", []string{"mke2fs", "-q", "-t", "ext4", "-U", uuid, "-L", "lab", "FILE"}, device.Super{Type: "ext4", UUID: uuid, Label: "lab"}},
		{"ext3", []string{"mke2fs", "-q", "-t", "ext3", "-U", uuid, "FILE"}, device.Super{Type: "ext3", UUID: uuid}},
		{"ext2", []string{"mke2fs", "-q", "-t", "ext2", "-U", uuid, "FILE"}, device.Super{Type: "ext2", UUID: uuid}},
		{"ext4 with quotas", []string{"mke2fs", "-q", "-t", "ext4", "-O", "quota", "-U", uuid, "FILE"}, device.Super{Type: "ext4", UUID: uuid, Modules: []string{"quota_v2"}}},
		{"ext4 with casefolded names", []string{"mke2fs", "-q", "-t", "ext4", "-O", "casefold", "-U", uuid, "FILE"}, device.Super{Type: "ext4", UUID: uuid, Modules: []string{"utf8data"}}},
		{"LUKS2", []string{
			"cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
			"--uuid", uuid, "--label", "lab", "--key-file", "/dev/null", "--keyfile-size", "0", "FILE",
		}, device.Super{Type: "crypto_LUKS", UUID: uuid, Label: "lab"}},
		{"FAT32", []string{"mkfs.fat", "-F", "32", "-s", "1", "-i", "1234abcd", "-n", "KEYS", "FILE"}, device.Super{Type: "vfat", UUID: "1234-ABCD", Label: "KEYS"}},
		{"FAT16", []string{"mkfs.fat", "-F", "16", "-i", "1234abcd", "-n", "KEYS", "FILE"}, device.Super{Type: "vfat", UUID: "1234-ABCD", Label: "KEYS"}},
		{"FAT12", []string{"mkfs.fat", "-F", "12", "-i", "1234abcd", "FILE"}, device.Super{Type: "vfat", UUID: "1234-ABCD"}},
		{"swap", []string{"mkswap", "-q", "-U", uuid, "-L", "lab", "FILE"}, device.Super{Type: "swap", UUID: uuid, Label: "lab"}},
		{"swap of 16 KiB pages", []string{"mkswap", "-q", "--pagesize", "16384", "-U", uuid, "FILE"}, device.Super{Type: "swap", UUID: uuid}},
		{"zeros", []string{"true"}, device.Super{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := image(t, tt.make, 32<<20)
			got, ok := device.Probe(file)
			if diff := cmp.Diff(tt.want, got); diff != "" || ok != (tt.want.Type != "") {
				t.Errorf("Probe = %v, %t (-want +got):\n%s", got, ok, diff)
			}
			if tt.name == "FAT32" { // as Windows leaves it: the label stands in the root folder alone
				file.WriteAt([]byte("NO NAME    "), 71)
				if got, _ := device.Probe(file); got.Label != "KEYS" {
					t.Errorf("with the boot sector's label gone, Probe = %v", got)
				}
			}
			if tt.name == "LUKS2" {
				file.WriteAt(make([]byte, 4096), 0)
				if got, _ := device.Probe(file); got.UUID != uuid {
					t.Errorf("with the primary header gone, Probe = %v", got)
				}
			}
		})
	}
}

// A label of LVM's counts, in whichever of the first four sectors, even with
// what a file system left around it; blkid(8) sees it so, too.
// A device of bcache is that, whatever its first sectors held before: struct
// cache_sb_disk of drivers/md/bcache/bcache_ondisk.h.
func TestProbeBcache(t *testing.T) {
	b := make([]byte, 1<<20)
	copy(b, "LUKS\xba\xbe\x00\x02")
	copy(b[4096+24:], "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"+"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef")
	copy(b[4096+72:], "lab")
	if got, ok := device.Probe(bytes.NewReader(b)); !ok || !cmp.Equal(got, device.Super{Type: "bcache", UUID: uuid, Label: "lab"}) {
		t.Errorf("Probe = %v, %t", got, ok)
	}
	if got, _ := device.Probe(bytes.NewReader(b[:4096+100])); got.Type == "bcache" {
		t.Errorf("Probe of half a superblock = %v", got)
	}
}

func TestProbeLVM(t *testing.T) {
	for sector := range 5 {
		f := image(t, []string{"mke2fs", "-q", "-t", "ext4", "-U", uuid, "FILE"}, 4<<20)
		f.WriteAt([]byte("LABELONE"), int64(sector)*512)
		f.WriteAt([]byte("LVM2 001xvpdZfDCdE5tawhttFJQhihjPta7H1rp\x00"), int64(sector)*512+24)
		want := device.Super{Type: "LVM2_member", UUID: "xvpdZfDCdE5tawhttFJQhihjPta7H1rp"}
		if sector == 4 {
			want = device.Super{Type: "ext4", UUID: uuid}
		}
		if got, _ := device.Probe(f); got.Type != want.Type || got.UUID != want.UUID {
			t.Errorf("label in sector %d: Probe = %+v, want %+v", sector, got, want)
		}
	}
}

func image(t *testing.T, command []string, size int64) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}

	var args []string
	for _, a := range command[1:] {
		switch a {
		case "FILE":
			a = path
		case "/dev/null":
			a = filepath.Join(t.TempDir(), "key")
			os.WriteFile(a, []byte("canary"), 0o600)
		case "--keyfile-size", "0":
			continue
		}
		args = append(args, a)
	}

	if _, err := exec.LookPath(command[0]); err != nil && os.Getenv("CI") == "" {
		t.Skip("needs " + command[0] + ": run images/deps")
	}
	if out, err := exec.Command(command[0], args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", command, err, out)
	}

	return f
}

func FuzzProbe(f *testing.F) {
	f.Add([]byte("LUKS\xba\xbe"), 0)
	f.Add([]byte{0x53, 0xef}, 1024+56)
	f.Add([]byte("XFSB"), 0)
	f.Add([]byte("_BHRfS_M"), 64*1024+64)
	fat := make([]byte, 1024)
	copy(fat[11:], []byte{0, 2, 1, 1, 0, 1}) // sectors of 512, clusters of one, one reserved, one FAT
	fat[66], fat[36], fat[44], fat[510], fat[511] = 0x29, 1, 2, 0x55, 0xaa
	copy(fat[82:], "FAT32   ")
	copy(fat[512:], "KEYS       \x08")
	f.Add(fat, 0)
	f.Fuzz(func(t *testing.T, what []byte, at int) {
		b := make([]byte, 70*1024)
		if at >= 0 && at < len(b) {
			copy(b[at:], what)
		}
		device.Probe(bytes.NewReader(b))
		device.Probe(bytes.NewReader(what))
		device.PartUUID(bytes.NewReader(b), at)
		device.PartUUID(bytes.NewReader(what), 1)
	})
}

func TestPartUUID(t *testing.T) {
	gpt := make([]byte, 8192)
	copy(gpt[512:], "EFI PART")
	binary.LittleEndian.PutUint64(gpt[512+72:], 2)
	binary.LittleEndian.PutUint32(gpt[512+80:], 128)
	binary.LittleEndian.PutUint32(gpt[512+84:], 128)
	copy(gpt[1024+128+16:], []byte{0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef})
	mbr := make([]byte, 8192)
	mbr[510], mbr[511] = 0x55, 0xaa
	binary.LittleEndian.PutUint32(mbr[440:], 0xdeadbeef)

	for _, tt := range []struct {
		name string
		disk []byte
		n    int
		want string // "" is an error
	}{
		{"GPT", gpt, 2, uuid},
		{"GPT, no such entry", gpt, 129, ""},
		{"GPT, entry 0", gpt, 0, ""},
		{"MBR", mbr, 1, "deadbeef-01"},
		{"none", make([]byte, 8192), 1, ""},
		{"short", make([]byte, 100), 1, ""},
	} {
		got, err := device.PartUUID(bytes.NewReader(tt.disk), tt.n)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: PartUUID = %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestBlocks(t *testing.T) {
	sys := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(sys, path)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	disk := "devices/pci0/virtio1/block/vda/"
	write(disk+"uevent", "MAJOR=254\nMINOR=0\nDEVNAME=vda\nDEVTYPE=disk\n")
	write(disk+"size", "2048\n")
	write(disk+"serial", "shop-7")
	write(disk+"vda2/bcache/state", "dirty\n")
	write(disk+"vda2/uevent", "MAJOR=254\nMINOR=2\nDEVNAME=vda2\nDEVTYPE=partition\nPARTN=2\nPARTNAME=data\n")
	write(disk+"vda2/size", "1024\n")
	write("devices/virtual/block/loop0/uevent", "MAJOR=7\nMINOR=0\nDEVNAME=loop0\n")
	write("devices/virtual/block/loop0/size", "0\n")
	os.MkdirAll(filepath.Join(sys, "class/block"), 0o755)
	for name, to := range map[string]string{"vda": disk, "vda2": disk + "vda2", "loop0": "devices/virtual/block/loop0"} {
		os.Symlink(filepath.Join(sys, to), filepath.Join(sys, "class/block", name))
	}

	got, err := device.Blocks(sys)
	want := []device.Block{
		{Name: "vda", Path: "/dev/vda", Major: 254, SizeBytes: 1 << 20, Disk: "vda", Serial: "shop-7"},
		{Name: "vda2", Path: "/dev/vda2", Major: 254, Minor: 2, SizeBytes: 1 << 19, Disk: "vda", Partition: 2, PartName: "data", Serial: "shop-7", Cached: true},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Blocks (-want +got), %v:\n%s", err, diff)
	}
}

// TestArray: a member is in use by the array that runs with it, and not by
// one that is only collected; and where a partition begins.
func TestArray(t *testing.T) {
	sys := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(sys, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, holder := range map[string]string{"vda": "md1", "vdb": "md2", "vdc": "dm-0", "vdd": "md9"} {
		dir := "class/block/" + name
		write(dir+"/uevent", "MAJOR=254\nMINOR=0\nDEVNAME="+name+"\n")
		write(dir+"/size", "2048\n")
		write(dir+"/holders/"+holder, "")
	}
	write("class/block/vde1/uevent", "MAJOR=254\nMINOR=0\nDEVNAME=vde1\nPARTN=1\n")
	write("class/block/vde1/size", "2048\n")
	write("class/block/vde1/start", "34\n")
	write("block/md1/md/array_state", "read-auto\n")
	write("block/md2/md/array_state", "inactive\n")
	write("block/dm-0/md/array_state", "clean\n")
	blocks, err := device.Blocks(sys)
	if err != nil {
		t.Fatal(err)
	}
	arrays, from := map[string]string{}, map[string]int64{}
	for _, b := range blocks {
		arrays[b.Name], from[b.Name] = b.Array, b.FromBytes
	}
	if diff := cmp.Diff(map[string]string{"vda": "md1", "vdb": "", "vdc": "", "vdd": "", "vde1": ""}, arrays); diff != "" {
		t.Errorf("arrays (-want +got):\n%s", diff)
	}
	if from["vde1"] != 34*512 || from["vda"] != 0 {
		t.Errorf("FromBytes = %v", from)
	}
}
