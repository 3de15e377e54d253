package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/cli"
	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// Only what a generator of keys writes is taken for random: anything that
// a person could have typed gets a slow KDF.
func TestIsRandom(t *testing.T) {
	raw := bytes.Repeat([]byte{0xff, 0x01}, 16)
	for _, tt := range []struct {
		name string
		key  string
		want bool
	}{
		{"32 bytes", string(raw), true},
		{"64 bytes", string(raw) + string(raw), true},
		{"31 bytes", string(raw[:31]), false},
		{"65 bytes", string(raw) + string(raw) + "\xff", false},
		{"hex", hex.EncodeToString(raw), true},
		{"hex of 31 bytes", hex.EncodeToString(raw[:31]), false},
		{"base64", base64.StdEncoding.EncodeToString(raw), true},
		{"base64 for URLs, without padding", base64.RawURLEncoding.EncodeToString(raw), true},
		{"base64 of 33 bytes", base64.StdEncoding.EncodeToString(append(raw, 1)), false},
		{"base64 with a newline inside", "AAAA\n" + strings.Repeat("A", 39), false},
		{"a long passphrase", "correct horse battery staple, and more", false},
		{"32 letters", strings.Repeat("k", 32), false},
		{"text of another script", strings.Repeat("ключ", 5), false},
		{"nothing", "", false},
	} {
		if got := isRandom(secret.Own([]byte(tt.key))); got != tt.want {
			t.Errorf("%s: isRandom = %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A key file is taken byte for byte, and refused when it holds nothing or
// more than cryptsetup reads.
func TestReadKeyFile(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name, content, want string
		ok                  bool
	}{
		{"text", "secret", "secret", true},
		{"a newline stays", "secret\n", "secret\n", true},
		{"zeros stay", "a\x00b", "a\x00b", true},
		{"the largest", strings.Repeat("x", maxKeyFile), strings.Repeat("x", maxKeyFile), true},
		{"larger", strings.Repeat("x", maxKeyFile+1), "", false},
		{"empty", "", "", false},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(tt.name, " ", "-"))
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readKeyFile(path)
		if (err == nil) != tt.ok || tt.ok && string(got.Reveal()) != tt.want {
			t.Errorf("%s: readKeyFile = %d bytes, %v", tt.name, got.Len(), err)
		}
	}
	if _, err := readKeyFile(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("readKeyFile of no file = %v, want %v", err, os.ErrNotExist)
	}
}

// The KDF follows what the key is, unless the operator says; a key that
// nobody can type is warned of.
func TestNewKey(t *testing.T) {
	dir := t.TempDir()
	random, typed := filepath.Join(dir, "random"), filepath.Join(dir, "typed")
	err := errors.Join(os.WriteFile(random, append(bytes.Repeat([]byte{0xff}, 31), '\n'), 0o600), os.WriteFile(typed, []byte("typed by a person\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		path, kdf     string
		random, warns bool
	}{
		{random, "auto", true, false}, // its last byte happens to be a newline
		{random, "pbkdf2", true, false},
		{random, "argon2id", false, false},
		{typed, "auto", false, true},
		{typed, "pbkdf2", true, true},
	} {
		var warn strings.Builder
		key, err := newKey(&warn, tt.path, tt.kdf, 3)
		if err != nil || key.Random != tt.random || key.Slot != 3 {
			t.Errorf("newKey(%s, %s): random %v, slot %d, %v", filepath.Base(tt.path), tt.kdf, key.Random, key.Slot, err)
		}
		if warned := strings.Contains(warn.String(), "cannot be typed"); warned != tt.warns {
			t.Errorf("newKey(%s, %s) warns %q", filepath.Base(tt.path), tt.kdf, warn.String())
		}
	}

	_, err = newKey(io.Discard, typed, "scrypt", 0)
	if exit, ok := errors.AsType[*cli.Exit](err); !ok || exit.Code != cli.Usage {
		t.Errorf("newKey with another KDF = %v, want exit code %d", err, cli.Usage)
	}
}

// Each error of a volume has the exit code that scripts go by.
func TestVolumeExit(t *testing.T) {
	_, rejected := luks2.Read(bytes.NewReader(make([]byte, 1<<20)), 1<<20)
	for _, tt := range []struct {
		err  error
		want int
	}{
		{rejected, cli.Rejected},
		{luks2.ErrLUKS1, cli.Rejected},
		{luks2.ErrWrongKey, cli.WrongKey},
		{luks2.ErrNoSlot, 0},
		{io.ErrUnexpectedEOF, 0},
	} {
		err := volumeExit("vol", tt.err)
		got := 0
		if exit, ok := errors.AsType[*cli.Exit](err); ok {
			got = exit.Code
		}
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("volumeExit(%v) = %v with code %d, want %d", tt.err, err, got, tt.want)
		}
	}
	for err, want := range map[error]string{luks2.ErrCopyDamaged: "latchkey volume repair vol", luks2.ErrChanged: "run the command again"} {
		if got := changeAdvice("vol", err); !errors.Is(got, err) || !strings.Contains(got.Error(), want) {
			t.Errorf("changeAdvice(%v) = %v, want %q in it", err, got, want)
		}
	}
}

// A recovery key must open on the machine that it is made for, when that
// boots with nearly all its memory free.
func TestRecoveryMemory(t *testing.T) {
	for _, tt := range []struct {
		totalBytes int64
		want       int
	}{
		{0, 0}, {128 << 20, 32 << 10}, {512 << 20, 128 << 10}, {1 << 30, 256 << 10}, {64 << 30, 256 << 10},
	} {
		if got := recoveryMemoryKiB(tt.totalBytes); got != tt.want {
			t.Errorf("recoveryMemoryKiB(%d MiB) = %d, want %d", tt.totalBytes>>20, got, tt.want)
		}
	}
}

// A recovery key is 32 letters that every keyboard layout has, in groups.
func TestRecoveryText(t *testing.T) {
	seen := map[string]bool{}
	for range 64 {
		text := string(newRecoveryText().Reveal())
		groups := strings.Split(text, "-")
		if len(groups) != recoveryGroups || strings.Trim(text, recoveryLetters+"-") != "" || seen[text] {
			t.Fatalf("newRecoveryText() = %q", text)
		}
		for _, g := range groups {
			if len(g) != recoveryGroupChars {
				t.Fatalf("newRecoveryText() = %q", text)
			}
		}
		seen[text] = true
	}
}
