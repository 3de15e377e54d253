package wrapping_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms/wrapping"
)

// shell is a program that runs these lines.
func shell(t *testing.T, lines string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+lines+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return []string{path, "an argument"}
}

// kept is a file with these bytes.
func kept(t *testing.T, material []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "material")
	if err := os.WriteFile(path, material, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What a program reads, writes and exits with, and what becomes of it.
func TestProgramUnwraps(t *testing.T) {
	key := secret.Random(wrapping.KeySize)
	in64 := base64.StdEncoding.EncodeToString(key.Reveal())
	octal := func(b []byte) (s string) { // as printf of a shell takes bytes
		for _, c := range b {
			s += "\\" + string([]byte{'0' + c>>6, '0' + c>>3&7, '0' + c&7})
		}
		return s
	}
	for _, row := range []struct {
		name, lines string
		want        error  // nil and no text is the key
		text        string // of the error
	}{
		{"32 bytes", "printf '" + octal(key.Reveal()) + "'", nil, ""},
		{"base64", "printf " + in64, nil, ""},
		{"base64 in a line", "echo " + in64, nil, ""},
		{"what it said before it succeeded is nothing", "echo warning >&2; echo " + in64, nil, ""},
		{"the material on its input", `[ "$(cat)" = wrapped ] && echo ` + in64, nil, ""},
		{"its arguments", `[ "$1" = "an argument" ] && echo ` + in64, nil, ""},
		{"its environment and no more of ours", `[ "$REGION-$SECRET-$HOME" = "here--" ] && echo ` + in64, nil, ""},
		{"a key and more", "echo " + in64 + "; echo more", nil, "neither a key of 32 bytes"},
		{"31 bytes", "printf 0123456789012345678901234567890", nil, "it wrote 31 bytes"},
		{"nothing", "true", nil, "it wrote 0 bytes"},
		{"too much", "head -c 70000 /dev/zero", nil, "more than 65536 bytes"},
		{"the service is away", "echo cannot connect >&2; exit 1", wrapping.ErrAway, "exit status 1: cannot connect"},
		{"a key, and then a failure", "echo " + in64 + "; exit 255", wrapping.ErrAway, "exit status 255"},
		{"it says much, and not nicely", `printf 'one\n\033[31mtwo\n'; printf 'three\n\033four' >&2; exit 75`, wrapping.ErrAway, "exit status 75: three four"},
		{"it is used wrongly", "echo no such key >&2; exit 64", wrapping.ErrRefused, "exit status 64: no such key"},
		{"the PIN is wrong", "exit 77", wrapping.ErrRefused, "exit status 77"},
	} {
		t.Setenv("SECRET", "ours")
		p := wrapping.Program{UnwrapArgs: shell(t, row.lines), Env: []string{"REGION=here"}, Timeout: time.Minute}
		got, err := p.Unwrap(t.Context(), kept(t, []byte("wrapped")))
		if row.want == nil && row.text == "" {
			if err != nil || !got.Equal(key) {
				t.Errorf("%s: Unwrap = %v, %v, want the key", row.name, got, err)
			}
			continue
		}
		if err == nil || row.want != nil && !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.text) || strings.ContainsAny(err.Error(), "\n\033") {
			t.Errorf("%s: Unwrap = %v, %q, want %v: %s", row.name, got, err, row.want, row.text)
		}
		if row.want == nil && (errors.Is(err, wrapping.ErrAway) || errors.Is(err, wrapping.ErrRefused)) {
			t.Errorf("%s: Unwrap = %v, which may pass", row.name, err)
		}
	}
}

// A program that does not end is ended, with what it started: that holds the
// writing end of a pipe open for as long as it lives.
func TestProgramEnds(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0) // opens without waiting for the other end
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	p := wrapping.Program{UnwrapArgs: shell(t, "exec 3>"+pipe+"; (echo up >&3; exec sleep 60) & wait"), Timeout: 500 * time.Millisecond}
	if _, err := p.Unwrap(t.Context(), kept(t, []byte{1})); !errors.Is(err, wrapping.ErrAway) || !strings.Contains(err.Error(), "it ran for too long (500ms)") {
		t.Errorf("Unwrap = %v", err)
	}
	only, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer only.Close()
	reader.Close()
	only.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.Copy(io.Discard, only); err != nil { // its end comes when nobody writes any more
		t.Errorf("what the program started goes on: %v", err)
	}
}

// A program that is not there is a mistake of the configuration, and so is
// material that is.
func TestProgramMissing(t *testing.T) {
	there := shell(t, "true")
	for name, p := range map[string]struct{ program, material string }{
		"no program":  {filepath.Join(t.TempDir(), "none"), kept(t, []byte{1})},
		"no material": {there[0], filepath.Join(t.TempDir(), "none")},
	} {
		_, err := wrapping.Program{UnwrapArgs: []string{p.program}, Timeout: time.Minute}.Unwrap(t.Context(), p.material)
		if !errors.Is(err, os.ErrNotExist) || errors.Is(err, wrapping.ErrAway) {
			t.Errorf("%s: Unwrap = %v", name, err)
		}
	}
	if _, err := (wrapping.Program{UnwrapArgs: there, Timeout: time.Minute}).Unwrap(t.Context(), kept(t, nil)); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("Unwrap of nothing = %v", err)
	}
	if _, err := (wrapping.Program{UnwrapArgs: there, Timeout: time.Minute}).Wrap(t.Context(), secret.Random(32)); err == nil || !strings.Contains(err.Error(), "wrapping.exec has no wrap") {
		t.Errorf("Wrap = %v", err)
	}
}

// What a program encrypts is kept as it is, unless it is no ciphertext.
func TestProgramWraps(t *testing.T) {
	key := secret.Random(wrapping.KeySize)
	wrap := func(lines string) ([]byte, error) {
		return wrapping.Program{WrapArgs: shell(t, lines), Timeout: time.Minute}.Wrap(t.Context(), key)
	}
	got, err := wrap("head -c 32 | sha256sum | cut -d' ' -f1")
	if err != nil || len(got) != 65 {
		t.Errorf("Wrap = %q, %v, want a line", got, err)
	}
	for name, row := range map[string]struct{ lines, want string }{
		"the key":       {"cat", "has the key in it"},
		"amid more":     {"echo before; cat; echo after", "has the key in it"},
		"in base64":     {"base64", "has the key in it"},
		"in hex":        {"echo " + hex.EncodeToString(key.Reveal()), "has the key in it"},
		"in other hex":  {"echo " + strings.ToUpper(hex.EncodeToString(key.Reveal())), "has the key in it"},
		"for addresses": {"echo " + base64.URLEncoding.EncodeToString(key.Reveal()), "has the key in it"},
		"nothing":       {"true", "wrote nothing"},
		"a failure":     {"echo denied >&2; exit 254", "exit status 254: denied"},
	} {
		if got, err := wrap(row.lines); err == nil || got != nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: Wrap = %q, %v, want %s", name, got, err, row.want)
		}
	}
}
