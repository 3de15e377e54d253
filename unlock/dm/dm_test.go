package dm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"latchkey/internal/secret"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
)

const volume = "5a0f5bd1-0f3f-4a77-9d3a-9c3b3a3e1c11"

func target(change func(*dm.Target)) dm.Target {
	t := dm.Target{Name: "luks-" + volume, Segment: luks2.Segment{Cipher: luks2.Cipher, OffsetBytes: 16 << 20, SizeBytes: 4 << 20, SectorBytes: 512}}
	change(&t)
	return t
}

func TestTable(t *testing.T) {
	key := ":64:logon:cryptsetup:" + volume + "-d0"
	for _, tt := range []struct {
		name   string
		change func(*dm.Target)
		want   string // "" when refused
	}{
		{"plain", func(*dm.Target) {}, "aes-xts-plain64 " + key + " 0 8:1 32768"},
		{"sector-4096", func(t *dm.Target) { t.Segment.SectorBytes = 4096 }, "aes-xts-plain64 " + key + " 0 8:1 32768 1 sector_size:4096"},
		{
			"all-options", func(t *dm.Target) { t.Options = dm.Options{true, true, true, true, true, true} },
			"aes-xts-plain64 " + key + " 0 8:1 32768 5 allow_discards same_cpu_crypt submit_from_crypt_cpus no_read_workqueue no_write_workqueue",
		},
		{"sector-1024", func(t *dm.Target) { t.Segment.SectorBytes = 1024 }, "aes-xts-plain64 " + key + " 0 8:1 32768 1 sector_size:1024"},
		{"sector-2048", func(t *dm.Target) { t.Segment.SectorBytes = 2048 }, "aes-xts-plain64 " + key + " 0 8:1 32768 1 sector_size:2048"},
		{"sector-1536", func(t *dm.Target) { t.Segment.SectorBytes = 1536 }, ""},
		{"sector-256", func(t *dm.Target) { t.Segment.SectorBytes = 256 }, ""},
		{"sector-8192", func(t *dm.Target) { t.Segment.SectorBytes = 8192 }, ""},
		{"sector-zero", func(t *dm.Target) { t.Segment.SectorBytes = 0 }, ""},
		{"negative-offset", func(t *dm.Target) { t.Segment.OffsetBytes = -4096 }, ""},
		{"serpent", func(t *dm.Target) { t.Segment.Cipher = "serpent-xts-plain64" }, "serpent-xts-plain64 " + key + " 0 8:1 32768"},
		{"another-key-size", func(t *dm.Target) { t.Segment.Cipher = "aes-cbc-essiv:sha256" }, ""},
		{"null-cipher", func(t *dm.Target) { t.Segment.Cipher = "cipher_null-ecb" }, ""},
		{"no-cipher", func(t *dm.Target) { t.Segment.Cipher = "" }, ""},
		{"cipher-with-words", func(t *dm.Target) { t.Segment.Cipher += " 0 0" }, ""},
		{"odd-offset", func(t *dm.Target) { t.Segment.OffsetBytes++ }, ""},
		{"empty", func(t *dm.Target) { t.Segment.SizeBytes = 0 }, ""},
		{"odd-size", func(t *dm.Target) { t.Segment.SectorBytes, t.Segment.SizeBytes = 4096, 512 }, ""},
		{"name-slash", func(t *dm.Target) { t.Name = "../sda" }, ""},
		{"name-space", func(t *dm.Target) { t.Name = "a b" }, ""},
		{"name-control", func(t *dm.Target) { t.Name = "control" }, ""},
		{"name-empty", func(t *dm.Target) { t.Name = "" }, ""},
		{"name-too-long-for-the-uuid", func(t *dm.Target) { t.Name = strings.Repeat("a", 84) }, ""},
		{"name-newline", func(t *dm.Target) { t.Name = "a\n0 1 zero" }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := dm.Table(target(tt.change), luks2Key(volume), dm.Number{8, 1})
			if got != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("Table = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func luks2Key(uuid string) dm.KeyRef { return dm.KeyRef{Type: "LUKS2", UUID: uuid, SizeBytes: 64} }

func TestTableRefusesKey(t *testing.T) {
	plain := target(func(*dm.Target) {})
	for _, bad := range []string{"", "x", strings.ToUpper(volume), volume[:35] + " ", volume[:35] + "\n", strings.ReplaceAll(volume, "-", ":")} {
		if got, err := dm.Table(plain, luks2Key(bad), dm.Number{}); err == nil {
			t.Errorf("Table for volume %q = %q, want an error", bad, got)
		}
	}

	for _, bad := range []dm.KeyRef{{"LUKS2", volume, 32, 64}, {"LUKS2", volume, -1, 64}, {"PLAIN", volume, 0, 64}, {"LUKS2", volume, 0, 0}, {"LUKS2", volume, 0, 16}} {
		if got, err := dm.Table(plain, bad, dm.Number{}); err == nil {
			t.Errorf("Table for key %+v = %q, want an error", bad, got)
		}
	}

	got, err := dm.Table(plain, dm.KeyRef{"LUKS1", volume, 0, 32}, dm.Number{253, 7})
	if want := "aes-xts-plain64 :32:logon:cryptsetup:" + volume + "-d0 0 253:7 32768"; err != nil || got != want {
		t.Errorf("Table for LUKS1 = %q, %v, want %q", got, err, want)
	}
}

var tableShape = regexp.MustCompile(`^(aes|serpent|twofish)-xts-plain64 :64:logon:cryptsetup:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-d[0-9]{1,2} 0 [0-9]+:[0-9]+ [0-9]+( [1-6]( [a-z_]+)*( sector_size:(1024|2048|4096))?)?$`)

// Whatever is asked for, the table has one shape (A4).
func FuzzTable(f *testing.F) {
	f.Add("root", volume, 0, int64(16<<20), int64(4096), 512, uint8(0), luks2.Cipher)
	f.Add("root 0 1 zero", volume+" x", 1, int64(-1), int64(-1), 4096, uint8(63), "serpent-xts-plain64")
	f.Fuzz(func(t *testing.T, name, uuid string, digest int, offset, size int64, sector int, o uint8, cipher string) {
		tgt := dm.Target{
			Name: name, Segment: luks2.Segment{Cipher: cipher, OffsetBytes: offset, SizeBytes: size, SectorBytes: sector},
			Options: dm.Options{o&1 > 0, o&2 > 0, o&4 > 0, o&8 > 0, o&16 > 0, o&32 > 0},
		}
		table, err := dm.Table(tgt, dm.KeyRef{Type: "LUKS2", UUID: uuid, DigestID: digest, SizeBytes: 64}, dm.Number{uint32(o), uint32(o)})
		if err == nil && !tableShape.MatchString(table) {
			t.Errorf("Table = %q", table)
		}
	})
}

// The bytes are those of linux/dm-ioctl.h, offsets counted by hand there.
func TestEncode(t *testing.T) {
	b := dm.Encode("root", luks2Key(volume), "a table", 8192)
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	for _, f := range []struct {
		name      string
		got, want uint32
	}{
		{"version", u32(0), 4},
		{"data_size", u32(12), uint32(len(b))},
		{"data_start", u32(16), 312},
		{"target_count", u32(20), 1},
		{"flags", u32(28), 0},
		{"event_nr", u32(32), 0x400000},
		{"sector_start", u32(312), 0},
		{"length", u32(320), 8192},
		{"next", u32(332), 48},
		{"size", uint32(len(b)), 360},
	} {
		if f.got != f.want {
			t.Errorf("%s = %d, want %d", f.name, f.got, f.want)
		}
	}

	for _, f := range []struct {
		at   int
		want string
	}{
		{48, "root\x00"}, {176, "CRYPT-LUKS2-5a0f5bd10f3f4a779d3a9c3b3a3e1c11-root\x00"}, {336, "crypt\x00"}, {352, "a table\x00"},
	} {
		if !bytes.HasPrefix(b[f.at:], []byte(f.want)) {
			t.Errorf("at %d: %q, want %q", f.at, b[f.at:f.at+len(f.want)], f.want)
		}
	}
}

// The key is in this thread's keyring while load runs, cannot be read, and
// is gone afterwards, whether load fails or not.
func TestWithKey(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	name := "cryptsetup:" + volume + "-d0"
	find := func() (int, error) {
		return unix.KeyctlSearch(unix.KEY_SPEC_THREAD_KEYRING, "logon", name, 0)
	}
	for _, want := range []error{nil, errors.New("load failed")} {
		id := 0
		err := dm.WithKey(name, secret.Random(64), func() (err error) {
			if id, err = find(); err != nil {
				t.Errorf("searching the key during load: %v", err)
			}
			if n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, make([]byte, 64), 0); err == nil {
				t.Errorf("reading the key gave %d bytes", n)
			}
			return want
		})
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
			t.Skipf("this kernel or container has no keyrings: %v", err)
		}
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("WithKey = %v, want %v", err, want)
		}

		if again, err := find(); err == nil {
			t.Errorf("the key is still there as %d", again)
		}
	}
}

// A target that is no block device is refused before the kernel is asked.
func TestMapRefusesFile(t *testing.T) {
	tgt := target(func(t *dm.Target) { t.Device = "/dev/null" })
	if err := dm.Map(tgt, luks2.VolumeKey{}); !errors.Is(err, unix.ENOTBLK) {
		t.Errorf("Map of /dev/null = %v, want %v", err, unix.ENOTBLK)
	}
}
