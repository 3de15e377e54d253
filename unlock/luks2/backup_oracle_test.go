package luks2_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"latchkey/unlock/luks2"
)

// LUKS1 is neither backed up nor erased here.
func TestBackupOfLUKS1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 4<<20)); err != nil {
		t.Fatal(err)
	}
	cryptsetup(t, keyA, "luksFormat", "-q", "--type", "luks1", "--hash", "sha256", "--key-size", "256", "--pbkdf-force-iterations", "1000", "--key-file", "-", path)
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h, err := luks2.ReadLUKS1(disk(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Backup(disk(image)); !errors.Is(err, luks2.ErrLUKS1) {
		t.Errorf("Backup = %v, want %v", err, luks2.ErrLUKS1)
	}
	if _, err := h.Erase(disk(image)); !errors.Is(err, luks2.ErrLUKS1) {
		t.Errorf("Erase = %v, want %v", err, luks2.ErrLUKS1)
	}
}

// Backups are cryptsetup's: byte for byte, and both restore the other's.
//
// compatible: Disks | cryptsetup (Debian 12) | header backups are the same bytes, and each restores the other's
func TestBackupIsCryptsetups(t *testing.T) {
	path := luksFormat(t, pbkdf2Slot()...)
	theirs := filepath.Join(t.TempDir(), "backup")
	cryptsetup(t, "", "luksHeaderBackup", path, "--header-backup-file", theirs)
	want, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	h, image := readImage(t, path)
	b, err := h.Backup(disk(image))
	if err != nil || !bytes.Equal(b.Bytes(), want) {
		t.Fatalf("Backup: %v; %d bytes, cryptsetup's has %d others", err, len(b.Bytes()), len(want))
	}

	change := func() {
		cryptsetup(t, passphrase+"\nother", "luksChangeKey", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", path)
	}
	opens := func(key string) bool {
		_, err := runCryptsetup(t, key, "open", "--test-passphrase", "--key-file", "-", path)
		return err == nil
	}
	change()
	if opens(passphrase) || !opens("other") {
		t.Fatal("the key was not changed")
	}
	now, image := readImage(t, path)
	if b, err = luks2.ReadBackup(want, int64(len(image))); err == nil {
		_, err = b.Restore(disk(image), now)
	}
	if err = errors.Join(err, os.WriteFile(path, image, 0o600)); err != nil {
		t.Fatal(err)
	}
	if !opens(passphrase) || opens("other") {
		t.Error("after our restore: want cryptsetup to open with the backup's key, and not with the later one")
	}

	if err := os.WriteFile(theirs, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	change()
	cryptsetup(t, "", "luksHeaderRestore", "-q", path, "--header-backup-file", theirs)
	if !opens(passphrase) {
		t.Error("cryptsetup does not restore our backup")
	}
}
