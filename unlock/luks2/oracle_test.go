package luks2_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

const passphrase = "correct horse battery staple"

// runCryptsetup runs the oracle with stdin.
func runCryptsetup(t testing.TB, stdin string, args ...string) (out string, err error) {
	t.Helper()
	if _, err := exec.LookPath("cryptsetup"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs cryptsetup: run images/deps")
		}
		t.Skip("cryptsetup, the oracle, is not installed")
	}
	c := exec.Command("cryptsetup", args...)
	c.Stdin = bytes.NewBufferString(stdin)
	b, err := c.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return string(b), err
}

// cryptsetup fails the test if the oracle fails.
func cryptsetup(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	out, err := runCryptsetup(t, stdin, args...)
	if err != nil {
		t.Fatalf("cryptsetup %q: %v", args, err)
	}
	return out
}

func tryCryptsetup(t testing.TB, args ...string) (out string, ok bool) {
	t.Helper()
	out, err := runCryptsetup(t, "", args...)
	return out, err == nil
}

// luksFormat makes an image of 20 MiB with the oracle and returns its path.
func luksFormat(t testing.TB, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 20<<20); err != nil {
		t.Fatal(err)
	}
	args = append([]string{"luksFormat", "-q", "--type", "luks2", "--key-file", "-"}, append(args, path)...)
	cryptsetup(t, passphrase, args...)
	return path
}

func pbkdf2Slot(args ...string) []string {
	return append([]string{"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}, args...)
}

func readImage(t testing.TB, path string) (*luks2.Header, []byte) {
	t.Helper()
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h, err := luks2.Read(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatalf("Read(%s) = %v", path, err)
	}
	return h, image
}

func unlock(h *luks2.Header, r io.ReaderAt, pass string, slot int) (luks2.VolumeKey, int, error) {
	return h.Unlock(context.Background(), r, luks2.Attempt{Passphrase: secret.Own([]byte(pass)), Slot: slot})
}

// What cryptsetup formats opens here, with the same volume key.
//
// compatible: Disks | cryptsetup (Debian 12) | LUKS2 volumes that it formats open here, with the same volume key
func TestUnlockCryptsetup(t *testing.T) {
	argon := []string{"--pbkdf-force-iterations", "4", "--pbkdf-memory", "64", "--pbkdf-parallel", "2"}
	for _, tt := range []struct {
		name   string
		args   []string
		sector int
	}{
		{"pbkdf2", pbkdf2Slot("--sector-size", "512"), 512},
		{"argon2id", append([]string{"--pbkdf", "argon2id", "--sector-size", "512"}, argon...), 512},
		{"argon2i", append([]string{"--pbkdf", "argon2i", "--sector-size", "512"}, argon...), 512},
		{"sector-4096", pbkdf2Slot("--sector-size", "4096"), 4096},
		{"label", pbkdf2Slot("--label", "a label", "--sector-size", "512"), 512},
		{"big-header", pbkdf2Slot("--luks2-metadata-size", "64k", "--sector-size", "512"), 512},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := luksFormat(t, tt.args...)
			h, image := readImage(t, path)
			if got := h.Segment().SectorBytes; got != tt.sector {
				t.Errorf("Segment().SectorBytes = %d, want %d", got, tt.sector)
			}
			key, slot, err := unlock(h, bytes.NewReader(image), passphrase, luks2.AnySlot)
			if err != nil || slot != 0 {
				t.Fatalf("Unlock = slot %d, %v, want slot 0", slot, err)
			}

			keyFile := filepath.Join(t.TempDir(), "volume.key")
			cryptsetup(t, passphrase, "luksDump", "-q", "--key-file", "-", "--dump-volume-key", "--volume-key-file", keyFile, path)
			want, err := os.ReadFile(keyFile)
			if err != nil {
				t.Fatal(err)
			}

			if !bytes.Equal(key.Bytes().Reveal(), want) {
				t.Error("Unlock: not the volume key that cryptsetup finds")
			}
			if _, _, err := unlock(h, bytes.NewReader(image), "wrong", luks2.AnySlot); !errors.Is(err, luks2.ErrWrongKey) {
				t.Errorf("Unlock with a wrong key = %v, want %v", err, luks2.ErrWrongKey)
			}

			if _, _, err := unlock(h, bytes.NewReader(image), passphrase, 7); !errors.Is(err, luks2.ErrNoSlot) {
				t.Errorf("Unlock of slot 7 = %v, want %v", err, luks2.ErrNoSlot)
			}
		})
	}
}
