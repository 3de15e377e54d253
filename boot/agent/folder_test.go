package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/secret"
)

const nobody = 65534

// A folder of sockets that others can write to, or that is elsewhere, is not
// used.
func TestListenInOwnFolder(t *testing.T) {
	dir := t.TempDir()
	other := func(path string) error {
		if os.Geteuid() != 0 {
			return os.Chmod(path, 0o777) // nobody else's folder can be made
		}
		return os.Chown(path, nobody, nobody)
	}
	for _, row := range []struct {
		name, says string
		plant      func(path string) error
	}{
		{"none", "", func(string) error { return nil }},
		{"ours", "", func(path string) error { return os.Mkdir(path, 0o755) }},
		{"writable", "can be written to by others", func(path string) error { return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o777)) }},
		{"another's", "can be written to by others", func(path string) error { return errors.Join(os.Mkdir(path, 0o700), other(path)) }},
		{"a link", "is no folder", func(path string) error {
			return errors.Join(os.Mkdir(path+".real", 0o700), os.Symlink(path+".real", path))
		}},
	} {
		path := filepath.Join(dir, row.name)
		if err := row.plant(path); err != nil {
			t.Fatal(err)
		}
		l, err := Listen(filepath.Join(path, "agent.sock"))
		if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: Listen = %v, want %q", row.name, err, row.says)
		}
		if err == nil {
			l.Close()
		}
	}
}

// Questions and sockets that are not root's are none.
func TestQuestionsOfOthers(t *testing.T) {
	dir := t.TempDir()
	path, socket := filepath.Join(dir, "ask.1"), filepath.Join(dir, "sck.1")
	if err := os.WriteFile(path, fmt.Appendf(nil, "[Ask]\nPID=%d\nSocket=%s\nId=cryptsetup:/dev/sda3\n", os.Getpid(), socket), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Symlink(socket, socket+".link"); err != nil {
		t.Fatal(err)
	}
	key := secret.Own([]byte("key"))
	if _, ok := readQuestion(path); !ok {
		t.Error("root's question is none")
	}
	if err := send(socket, key); err != nil {
		t.Error(err)
	}
	if err := send(socket+".link", key); err == nil {
		t.Error("a key was sent to a link")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	if err := errors.Join(os.Chown(path, nobody, nobody), os.Chown(socket, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	if _, ok := readQuestion(path); ok {
		t.Error("another user's question is answered")
	}
	if err := send(socket, key); err == nil {
		t.Error("a key was sent to another user")
	}
}
