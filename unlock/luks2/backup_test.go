package luks2_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"latchkey/unlock/luks2"
	"latchkey/unlock/luks2/luks2test"
)

// The keys of these tests, all of 256 bits.
var (
	keyA = randomKey
	keyB = strings.Repeat("b", 32)
	keyC = strings.Repeat("c", 32)
)

// swap replaces the key in the only keyslot, whose place stays the same.
func swap(t testing.TB, d disk, volume luks2.VolumeKey, old, next string) {
	t.Helper()
	h, err := read(d)
	if err != nil {
		t.Fatal(err)
	}
	_, slot, err := unlock(h, d, old, luks2.AnySlot)
	if err != nil {
		t.Fatal(err)
	}
	other := "a third key that is there for a while"
	h, away, err := h.AddKey(d, volume, random(other))
	if err == nil {
		h, err = h.RemoveKey(d, slot)
	}
	if err == nil {
		k := random(next)
		k.Slot = slot
		h, _, err = h.AddKey(d, volume, k)
	}
	if err == nil {
		_, err = h.RemoveKey(d, away)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func backupOf(t testing.TB, d disk) *luks2.Backup {
	t.Helper()
	h, err := read(d)
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.Backup(d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func opensWith(d disk, keys ...string) error {
	h, err := read(d)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if _, _, err = unlock(h, d, k, luks2.AnySlot); err == nil {
			return nil
		}
	}
	return err
}

// F21: the power is cut at any moment of a restore. Something that opened the
// volume before, or that opens the backup, opens it, and running it again
// ends well: the backup's keys open, no other one does, no copy is damaged.
func TestPowerCutWhileRestoring(t *testing.T) {
	for _, tt := range []struct {
		name         string
		then, now    []string // keys of the backup and of the volume
		change       func(t *testing.T, d disk, volume luks2.VolumeKey)
		damage       func(d disk)
		nothingThere bool
	}{
		{"another key in its place", []string{keyA}, []string{keyB}, func(t *testing.T, d disk, v luks2.VolumeKey) { swap(t, d, v, keyA, keyB) }, nil, false},
		{"a key was added", []string{keyA}, []string{keyA, keyB}, func(t *testing.T, d disk, v luks2.VolumeKey) { add(t, d, v, keyB) }, nil, false},
		{"one went, one came", []string{keyA}, []string{keyA, keyC}, func(t *testing.T, d disk, v luks2.VolumeKey) {
			add(t, d, v, keyB)
			add(t, d, v, keyC)
			h, err := read(d)
			if err == nil {
				_, err = h.RemoveKey(d, 1)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, nil, false},
		{"the primary is damaged", []string{keyA}, []string{keyB}, func(t *testing.T, d disk, v luks2.VolumeKey) { swap(t, d, v, keyA, keyB) }, func(d disk) { damage(d, 0) }, false},
		{"the secondary is damaged", []string{keyA}, []string{keyB}, func(t *testing.T, d disk, v luks2.VolumeKey) { swap(t, d, v, keyA, keyB) }, func(d disk) { damage(d, hdrSize) }, false},
		{"both are damaged", []string{keyA}, nil, func(*testing.T, disk, luks2.VolumeKey) {}, func(d disk) { damage(d, 0); damage(d, hdrSize) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, volume, base := format(t)
			b := backupOf(t, base)
			tt.change(t, base, volume)
			if tt.damage != nil {
				tt.damage(base)
			}

			rec := &luks2test.Recorder{Disk: clone(base)}
			restore(t, b, rec, rec.Disk)
			rec.Cuts(base, func(cut string, d disk) {
				if err := opensWith(d, slices.Concat(tt.then, tt.now)...); err != nil && !tt.nothingThere {
					t.Fatalf("cut at %s: nothing opens: %v", cut, err)
				}
				restore(t, b, d, d)
				checkRestored(t, cut, d, b, tt.then, tt.now)
			})
		})
	}
}

func add(t testing.TB, d disk, volume luks2.VolumeKey, key string) {
	t.Helper()
	h, err := read(d)
	if err == nil {
		_, _, err = h.AddKey(d, volume, random(key))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func restore(t testing.TB, b *luks2.Backup, s luks2.Storage, d disk) {
	t.Helper()
	now, _ := read(d) // nil if none can be read
	after, err := b.Restore(s, now)
	if err != nil {
		t.Fatal(err)
	}
	if now != nil && after.SeqID() <= now.SeqID() {
		t.Fatalf("the seqid was %d, and %d after the restore: others would take it for an older header", now.SeqID(), after.SeqID())
	}
}

func checkRestored(t testing.TB, cut string, d disk, b *luks2.Backup, then, now []string) {
	t.Helper()
	h, err := read(d)
	if err != nil || h.OtherCopy() != luks2.CopySame {
		t.Fatalf("cut at %s, restored: %v, want two good copies", cut, err)
	}
	if removed, added := b.Differs(h); len(removed)+len(added) > 0 {
		t.Fatalf("cut at %s, restored: keyslots %v are missing, %v are too many", cut, removed, added)
	}
	for _, k := range then {
		if err := opensWith(d, k); err != nil {
			t.Fatalf("cut at %s, restored: a key of the backup: %v", cut, err)
		}
	}
	for _, k := range now {
		if !slices.Contains(then, k) && opensWith(d, k) == nil {
			t.Fatalf("cut at %s, restored: a later key opens still", cut)
		}
	}
}

// What the backup's header does not name is noise after a restore: the
// keyslots that came later, and the one that was put elsewhere for a while.
func TestRestoreLeavesNoKeyslot(t *testing.T) {
	_, volume, base := format(t)
	b := backupOf(t, base)
	swap(t, base, volume, keyA, keyB)
	add(t, base, volume, keyC)
	rec := &luks2test.Recorder{Disk: clone(base)}
	restore(t, b, rec, rec.Disk)
	const first = 2 * hdrSize
	named := rec.Disk[first : first+258048]
	for _, o := range rec.Ops {
		if len(o.Data) < 258048 || bytes.Equal(o.Data, named) && o.At == first {
			continue
		}
		for at := first + 258048; at+4096 <= 1<<20; at += 4096 {
			if block := rec.Disk[at : at+4096]; bytes.Contains(base, block) || bytes.Contains(named, block) {
				t.Fatalf("block %#x holds what it held before, or a keyslot", at)
			}
		}
		return
	}
	t.Fatal("nothing but the keyslot was written")
}

// A restore that could lose the volume in a power cut is not begun.
func TestRestoreNeedsRoom(t *testing.T) {
	_, volume, d := format(t)
	add(t, d, volume, keyB)
	h, err := read(d)
	if err == nil {
		_, err = h.RemoveKey(d, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	b := backupOf(t, d) // keyB, in the second place
	swap(t, d, volume, keyB, keyC)
	add(t, d, volume, keyA)
	add(t, d, volume, keyB)
	before := clone(d)
	now, err := read(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Restore(d, now); code(err) != "keyslot-area" {
		t.Errorf("Restore without room = %v, want keyslot-area", err)
	}
	if !bytes.Equal(d, before) {
		t.Error("something was written")
	}
}

// What is no whole backup of a volume that can be opened is refused.
func TestReadBackup(t *testing.T) {
	h, _, d := format(t)
	b := backupOf(t, d)
	for _, tt := range []struct {
		name  string
		image []byte
		size  int64
		want  string
	}{
		{"cut short", b.Bytes()[:len(b.Bytes())-1], 2 << 20, "backup-size"},
		{"of a larger device", b.Bytes(), 1 << 20, "segment-range"},
		{"no header", make([]byte, len(b.Bytes())), 2 << 20, "not-luks"},
		{"empty", nil, 2 << 20, "backup-size"},
	} {
		if _, err := luks2.ReadBackup(tt.image, tt.size); code(err) != tt.want {
			t.Errorf("%s: ReadBackup = %v, want %s", tt.name, err, tt.want)
		}
	}
	if _, err := h.Erase(d); err != nil {
		t.Fatal(err)
	}
	if _, err := luks2.ReadBackup(d[:len(b.Bytes())], 2<<20); code(err) != "no-usable-keyslot" {
		t.Errorf("ReadBackup of an erased volume = %v, want no-usable-keyslot", err)
	}
}

// The backup has two good copies, also of a volume that has one.
func TestBackupOfOneCopy(t *testing.T) {
	for _, at := range []int{0, hdrSize} {
		_, _, d := format(t)
		damage(d, at)
		before := clone(d)
		if b := backupOf(t, d); b.OtherCopy() != luks2.CopySame {
			t.Errorf("copy at %d damaged: the backup's other copy is %s", at, b.OtherCopy())
		}
		if !bytes.Equal(before, d) {
			t.Error("the volume was written to")
		}
	}
}

// Another volume key, or another UUID, is another volume.
func TestSameVolume(t *testing.T) {
	h, _, d := format(t)
	again, _, _ := format(t)
	if !backupOf(t, d).SameVolume(h) || h.SameVolume(again) {
		t.Error("SameVolume: want true for itself, false for another volume key under the same UUID")
	}
}

// F21: a cut while the keyslots are erased leaves a header that is read and
// can be erased again; in the end nothing of a keyslot is left.
func TestPowerCutWhileErasing(t *testing.T) {
	_, volume, base := format(t)
	add(t, base, volume, keyB)
	damage(base, hdrSize) // which does not stop it
	h, err := read(base)
	if err != nil {
		t.Fatal(err)
	}
	rec := &luks2test.Recorder{Disk: clone(base)}
	if _, err := h.Erase(rec); err != nil {
		t.Fatal(err)
	}
	rec.Cuts(base, func(cut string, d disk) {
		h, err := read(d)
		if err == nil {
			h, err = h.Erase(d)
		}
		if err != nil || len(h.Keyslots()) != 0 || len(h.Tokens()) != 0 || h.OtherCopy() != luks2.CopySame {
			t.Fatalf("cut at %s, erased again: %v", cut, err)
		}
		for at := 2 * hdrSize; at < 1<<20; at += 4096 {
			if bytes.Contains(base[2*hdrSize:], d[at:at+4096]) {
				t.Fatalf("cut at %s, erased again: block %#x is as it was", cut, at)
			}
		}
	})
}
