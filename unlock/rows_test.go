package unlock_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
)

// The staged secret of a rotation is tried when the active one opens
// nothing, also when a person's keyslot needs more memory than there is.
func TestStagedFallback(t *testing.T) {
	for _, row := range []struct {
		name string
		free int64
		more []luks2.NewKey
	}{
		{"plain", 0, nil},
		{"a keyslot too big to try", 64 << 20, []luks2.NewKey{{Passphrase: key(9), Slot: luks2.AnySlot, MemoryKiB: 64 << 10}}},
	} {
		v, d := format(t, row.more...)
		var kernel recorder
		o, err := v.Open(ctx, d, candidates(key(7), key(1)), unlock.Expect{}, luks2.NewMemory(row.free), kernel.mapper)
		if err != nil || !o.Staged || o.Slot != 0 {
			t.Errorf("%s: Open = %+v, %v, want keyslot 0 by the staged key", row.name, o, err)
		}
		kernel.wiped(t)
	}
}

// kdf-memory is said when nothing else could be tried: F26.
func TestNoMemoryForAnySlot(t *testing.T) {
	v, d := format(t, luks2.NewKey{Passphrase: key(9), Slot: luks2.AnySlot, MemoryKiB: 64 << 10})
	h, err := v.Header.RemoveKey(d, 0)
	if err != nil {
		t.Fatal(err)
	}

	v.Header = h
	for _, keys := range [][]secret.Bytes{{key(9)}, {key(7), key(9)}} {
		var kernel recorder
		if _, err := v.Open(ctx, d, candidates(keys...), unlock.Expect{}, luks2.NewMemory(64<<20), kernel.mapper); codeOf(err) != "kdf-memory" {
			t.Errorf("Open with %d keys = %v, want code kdf-memory", len(keys), err)
		}
		if _, err := v.Open(ctx, d, candidates(keys...), unlock.Expect{}, luks2.NewMemory(1<<30), kernel.mapper); err != nil {
			t.Errorf("Open with memory = %v", err)
		}
	}
}

// A1: another LUKS volume with the same UUID, made by who knows the
// passphrase. What the KMS or the plan knows of the true one tells them
// apart; the header's difference is seen before a key is tried.
func TestFakeVolumeWithTheSameUUID(t *testing.T) {
	enrolled, d := format(t)
	o, err := enrolled.Open(ctx, d, candidates(key(1)), unlock.Expect{}, nil, (&recorder{}).mapper)
	if err != nil {
		t.Fatal(err)
	}

	digest := enrolled.Header.SubsetDigest()
	for _, row := range []struct {
		name  string
		plan  []byte
		known unlock.Expect
		tried bool
	}{
		{"KMS knows the header", nil, unlock.Expect{Digest: digest[:]}, false},
		{"plan knows the header", digest[:], unlock.Expect{}, false},
		{"KMS knows the volume key only", nil, unlock.Expect{MAC: o.MAC[:]}, true},
	} {
		fake, d := format(t)
		if fake.Header.UUID() != enrolled.Header.UUID() {
			t.Fatal("the fake has another UUID")
		}

		fake.Digest = row.plan
		var kernel recorder
		_, err := fake.Open(ctx, d, candidates(key(1)), row.known, nil, kernel.mapper)
		if codeOf(err) != unlock.CodeLocked || len(kernel.targets) != 0 {
			t.Errorf("%s: Open = %v with %d tables, want code %s", row.name, err, len(kernel.targets), unlock.CodeLocked)
		}

		if tried := d.reads > 0; tried != row.tried {
			t.Errorf("%s: a key was tried: %t, want %t", row.name, tried, row.tried)
		}
	}
}

// A4: what an attacker writes into the header reaches the kernel's table
// nowhere: name, device and options are the plan's, the rest is numbers.
func TestHeaderStringsStayOut(t *testing.T) {
	v, d := format(t)
	const evil = "allow-discards;rm 4 fec_device"
	for _, at := range []int{0, 16 << 10} {
		rewrite(d.bytes[at:at+16<<10], func(json string) string {
			return strings.Replace(json, `"config":{`, `"config":{"flags":["allow-discards","no-read-workqueue","`+evil+`"],`, 1)
		}, evil)
	}

	h, err := luks2.Read(d, int64(len(d.bytes)))
	if err != nil {
		t.Fatal(err)
	}

	if len(h.Flags()) != 3 || h.Label() != evil {
		t.Fatalf("the header says %q, %q: the test changes nothing", h.Flags(), h.Label())
	}
	v.Header = h
	var kernel recorder
	if _, err := v.Open(ctx, d, candidates(key(1)), unlock.Expect{}, nil, kernel.mapper); err != nil {
		t.Fatal(err)
	}

	want := dm.Target{Name: "root", Device: "/dev/vda2", Segment: h.Segment()}
	if kernel.targets[0] != want {
		t.Errorf("the kernel was given %+v, want %+v", kernel.targets[0], want)
	}
}

// rewrite changes a header copy's JSON text and label, and makes its
// checksum right again: LUKS2 specification, section 2.1.
func rewrite(raw []byte, change func(string) string, label string) {
	text, _, _ := bytes.Cut(raw[4096:], []byte{0})
	changed := change(string(text))
	clear(raw[4096:])
	copy(raw[4096:], changed)
	clear(raw[24:72])
	copy(raw[24:], label)
	clear(raw[448:512])
	sum := sha256.Sum256(raw)
	copy(raw[448:], sum[:])
}

// What PCR 15 is extended with, for a volume whose key is 00 01 02 … 3f.
// The values are Python's hmac, of what systemd's measure_volume_key says.
func TestMeasurement(t *testing.T) {
	if _, err := exec.LookPath("cryptsetup"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs cryptsetup: run images/deps")
		}
		t.Skip("cryptsetup is not installed: it makes a volume with a given key")
	}

	dir := t.TempDir()
	path, keyFile, volumeKey := filepath.Join(dir, "vol"), filepath.Join(dir, "key"), make([]byte, 64)
	for i := range volumeKey {
		volumeKey[i] = byte(i)
	}
	if err := os.WriteFile(path, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}

	for name, b := range map[string][]byte{keyFile: key(1).Reveal(), keyFile + ".volume": volumeKey} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	out, err := exec.Command("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", "--uuid", uuid, "--offset", "4096", "--luks2-keyslots-size", "1M",
		"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--cipher", "aes-xts-plain64", "--key-size", "512",
		"--master-key-file", keyFile+".volume", "--key-file", keyFile, path).CombinedOutput()
	if err != nil {
		t.Fatalf("cryptsetup: %v: %s", err, out)
	}

	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	d := &disk{bytes: raw}
	h, err := luks2.Read(d, int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}

	const mac = "e60dbf9b097d8d8eb49980a9266ad596338f518bcac18f8cdd363af6dda37818"
	for name, want := range map[string]string{
		"root":   "d224f55e3200504f21569318bcd003a7d2f86cc00dc4253f2f07c44db5f9defd",
		"data-1": "51a6f0cfd7966103b60e565ecac260d4bf8457f7030170502beb323db2ffdbf6",
	} {
		v := &unlock.Volume{Name: name, Device: "/dev/vda2", Header: h}
		var kernel recorder
		o, err := v.Open(ctx, d, candidates(key(1)), unlock.Expect{}, nil, kernel.mapper)
		if err != nil || hex.EncodeToString(o.Measure.SHA256[:]) != want || hex.EncodeToString(o.MAC[:]) != mac {
			t.Errorf("Open of %s = %x, MAC %x, %v, want %s, %s", name, o.Measure, o.MAC, err, want, mac)
		}
		if !bytes.Equal(kernel.was, volumeKey) {
			t.Errorf("the kernel was given another key")
		}
	}
}
