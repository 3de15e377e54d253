package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newEFI is a place for a unified kernel image on a file system that has what
// the case says, with what was in it.
func newEFI(t *testing.T, link, swap bool) (p place, newest string) {
	t.Helper()
	p = newPlace(filepath.Join(t.TempDir(), "latchkey-6.1.efi"))
	p.booted = time.Now().Add(-time.Hour)
	no := func(string, string) error { return unix.EPERM }
	if !link {
		p.link = no
	}
	if !swap {
		p.swap = no
	}
	newest = filepath.Join(filepath.Dir(p.path), "new")
	write(t, newest, "third", time.Now())
	return p, newest
}

func write(t *testing.T, path, text string, made time.Time) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, made, made)); err != nil {
		t.Fatal(err)
	}
}

// TestPlace: what was there is the old one, on each file system; one that has
// not booted takes no place of one that has. ours is what counts as an image.
func TestPlace(t *testing.T) {
	before := time.Now().Add(-24 * time.Hour)
	for _, tt := range []struct {
		name            string
		link, swap      bool
		current, old    string
		made            time.Time
		wantOld, wantIs string
	}{
		{"the first", true, true, "", "", before, "", "third"},
		{"it has booted", true, true, "second", "first", before, "second", "third"},
		{"on FAT", false, true, "second", "first", before, "second", "third"},
		{"on FAT before Linux 6.0", false, false, "second", "first", before, "second", "third"},
		{"it has not booted", true, true, "second", "first", time.Now(), "first", "third"},
		{"nor has anything", true, true, "second", "", time.Now(), "second", "third"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, newest := newEFI(t, tt.link, tt.swap)
			if tt.current != "" {
				write(t, p.path, tt.current, tt.made)
			}
			if tt.old != "" {
				write(t, p.old(), tt.old, before)
			}
			name := ""
			if tt.current != "" && !(p.unproven() && exists(p.old())) {
				name = p.old()
			}
			if err := p.keeping(newest, name); err != nil {
				t.Fatal(err)
			}
			is, _ := os.ReadFile(p.path)
			old, _ := os.ReadFile(p.old())
			if string(is) != tt.wantIs || string(old) != tt.wantOld {
				t.Errorf("there is %q with the old %q, want %q with %q", is, old, tt.wantIs, tt.wantOld)
			}
			names, err := filepath.Glob(filepath.Join(filepath.Dir(p.path), "*"))
			if err != nil || len(names) > 2 || exists(newest) {
				t.Errorf("what is left: %q, %v", names, err)
			}
		})
	}
}

// TestPlaceKeepsOthers: the distribution's initramfs is kept on each file
// system, without any room; what cannot be kept is not replaced.
func TestPlaceKeepsOthers(t *testing.T) {
	for _, tt := range []struct {
		name       string
		link, swap bool
	}{{"links", true, true}, {"FAT", false, true}, {"FAT before Linux 6.0", false, false}} {
		p, newest := newEFI(t, tt.link, tt.swap)
		write(t, p.path, "the distribution's", time.Now())
		if err := p.put(newest); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		is, _ := os.ReadFile(p.path)
		kept, _ := os.ReadFile(p.path + otherSuffix)
		if string(is) != "third" || string(kept) != "the distribution's" {
			t.Errorf("%s: there is %q, and %q is kept", tt.name, is, kept)
		}
	}
	for name, spoil := range map[string]func(p place) error{
		"a folder has the name": func(p place) error { return os.Mkdir(p.path+otherSuffix, 0o700) },
		"a FIFO is there":       func(p place) error { return errors.Join(os.Remove(p.path), unix.Mkfifo(p.path, 0o600)) },
	} {
		p, newest := newEFI(t, true, true)
		write(t, p.path, "the distribution's", time.Now())
		if err := spoil(p); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(p.path)
		if err := p.put(newest); err == nil || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("%s: put = %v", name, err)
		}
		if after, err := os.Lstat(p.path); err != nil || !os.SameFile(before, after) || !exists(newest) {
			t.Errorf("%s: the image was replaced", name)
		}
	}
}

// TestPlaceInstalls: what is no file gets no second name as if it were our
// image.
func TestPlaceInstalls(t *testing.T) {
	p, newest := newEFI(t, true, true)
	p.path = strings.TrimSuffix(p.path, ".efi")
	if err := unix.Mkfifo(p.path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.install(newest); err == nil || exists(p.path+oursSuffix) {
		t.Errorf("install over a FIFO = %v; it has the second name: %t", err, exists(p.path+oursSuffix))
	}
	if err := errors.Join(os.Remove(p.path), p.install(newest)); err != nil || !exists(p.path+oursSuffix) {
		t.Errorf("install = %v; there is a second name: %t", err, exists(p.path+oursSuffix))
	}
}

// TestPlaceMakesRoom: of two images the one goes that has not booted.
func TestPlaceMakesRoom(t *testing.T) {
	before := time.Now().Add(-24 * time.Hour)
	p, _ := newEFI(t, true, true)
	write(t, p.path, "second", time.Now())
	if made, err := p.makeRoom(); made || err != nil {
		t.Errorf("with one image makeRoom = %t, %v, want that it stays", made, err)
	}
	write(t, p.old(), "first", before)
	if made, err := p.makeRoom(); !made || err != nil {
		t.Fatalf("makeRoom = %t, %v", made, err)
	}
	if is, _ := os.ReadFile(p.path); string(is) != "first" || exists(p.old()) {
		t.Errorf("the place has %q, want the one that booted, first", is)
	}
	write(t, p.path, "second", before)
	write(t, p.old(), "first", before)
	if made, err := p.makeRoom(); !made || err != nil || exists(p.old()) {
		t.Errorf("makeRoom = %t, %v, want that the older of two that booted goes", made, err)
	}
}

// TestOldName: boot menus list the old image behind the new one.
func TestOldName(t *testing.T) {
	if old := newPlace("/efi/latchkey-6.1.efi").old(); old != "/efi/latchkey-6.1~old.efi" {
		t.Errorf("the old name is %s", old)
	}
	if old := newPlace("/boot/initrd.img-6.1").old(); old != "/boot/initrd.img-6.1.old" {
		t.Errorf("the old name is %s", old)
	}
}

// TestReadBack: a file system that lost or changed what was written is found
// out before the old image is given up.
func TestReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	whole := bytes.Repeat([]byte("image"), 10000)
	sum := sha256.Sum256(whole)
	for name, text := range map[string]string{"cut": string(whole[:40000]), "changed": "I" + string(whole[1:]), "empty": "", "longer": string(whole) + "\x00"} {
		write(t, path, text, time.Now())
		if err := readBack(path, sum[:]); err == nil || !strings.Contains(err.Error(), "has not what was written to it") {
			t.Errorf("%s: readBack = %v", name, err)
		}
	}
	write(t, path, string(whole), time.Now())
	if err := readBack(path, sum[:]); err != nil {
		t.Errorf("readBack of what was written = %v", err)
	}
}
