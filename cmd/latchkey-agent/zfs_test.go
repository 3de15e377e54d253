package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/cli"
)

// asZFS reads a key as "zfs load-key" does, from standard input that is no
// terminal or from the file of keylocation: get_key_material_raw and validate_key
// in lib/libzfs/libzfs_crypto.c of OpenZFS.
func asZFS(r io.Reader, format string) (string, error) {
	in := bufio.NewReader(r)
	if format == "raw" {
		key := make([]byte, 33) // one more than it takes
		n, _ := io.ReadFull(in, key)
		return string(key[:n]), between("raw key", n, 32, 32)
	}
	line, err := in.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line = strings.TrimSuffix(line, "\n")
	if format == "hex" {
		return line, between("hex key", len(line), 64, 64)
	}
	return line, between("passphrase", len(line), 8, 512)
}

func between(what string, n, least, most int) error {
	switch {
	case n < least:
		return fmt.Errorf("%s too short", what)
	case n > most:
		return fmt.Errorf("%s too long", what)
	}
	return nil
}

// What latchkey-agent key prints is what zfs load-key takes, to the byte, and
// nothing if there is no key: then zfs refuses, too.
func TestKeyForZFS(t *testing.T) {
	odd := "line\n\x00" + strings.Repeat("\xff", 25) + "\n" // of the mode automated: 32 bytes
	for _, row := range []struct {
		name, answer, format, want, refused string
		exit                                int
	}{
		{"a passphrase", "+correct horse", "passphrase", "correct horse", "", 0},
		{"a passphrase of more than 512", "+" + strings.Repeat("a", 513), "passphrase", strings.Repeat("a", 513), "too long", 0},
		{"64 hex digits", "+" + strings.Repeat("0f", 32), "hex", strings.Repeat("0f", 32), "", 0},
		{"32 bytes", "+" + odd, "raw", odd, "", 0},
		{"32 bytes as a passphrase", "+" + odd, "passphrase", "line", "too short", 0},
		{"no key", "-tpm-missing", "passphrase", "", "too short", 1},
		{"no raw key", "-tpm-missing", "raw", "", "too short", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out, problems bytes.Buffer
			c := keyCommand(t.Context(), &out, answering(t, row.answer))
			if exit := cli.Main(c, []string{"zfs-key"}, &out, &problems); exit != row.exit {
				t.Errorf("exit code %d, want %d: %s", exit, row.exit, &problems)
			}
			if exit := row.exit; exit != 0 && (out.Len() > 0 || !strings.Contains(problems.String(), "tpm-missing")) {
				t.Errorf("printed %q and %q", &out, &problems)
			}
			got, err := asZFS(&out, row.format)
			if got != row.want || (err == nil) != (row.refused == "") || err != nil && !strings.Contains(err.Error(), row.refused) {
				t.Errorf("zfs reads %q, %v, want %q, %q", got, err, row.want, row.refused)
			}
		})
	}
}

// The first line of an open mapping is a key, whatever is behind it.
func TestMappingForZFS(t *testing.T) {
	key := strings.Repeat("0f", 32)
	if got, err := asZFS(strings.NewReader(key+"\n"+strings.Repeat("\x00", 4096)), "hex"); got != key || err != nil {
		t.Errorf("zfs reads %q, %v", got, err)
	}
	if _, err := asZFS(strings.NewReader(strings.Repeat("\x00", 4096)), "raw"); err == nil {
		t.Error("zfs takes a whole mapping for a raw key")
	}
}

// answering is the socket of an agent that gives one answer.
func answering(t *testing.T, answer string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if request, err := bufio.NewReader(c).ReadString('\n'); err != nil || request != "key zfs-key\n" {
			t.Errorf("the agent is asked %q, %v", request, err)
		}
		io.WriteString(c, answer)
	}()
	return path
}
