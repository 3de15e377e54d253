package wrapping

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/crypto/argon2"

	"latchkey/internal/datafile"
	"latchkey/internal/secret"
)

// ReadFile reads a key: a file of 32 bytes that only its owner can read; or
// root's, for a group of ours to read, which is how Kubernetes hands a
// Secret to a pod that is not root (fsGroup).
func ReadFile(path string) (secret.Bytes, error) {
	return read(path, func(info fs.FileInfo) bool {
		perm := info.Mode().Perm()
		return perm&0o077 == 0 || perm&0o037 == 0 && handed(info)
	})
}

// handed tells whether a file is root's and its group one of ours, while we
// are not root.
func handed(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	groups, err := os.Getgroups()
	return ok && err == nil && os.Geteuid() != 0 && stat.Uid == 0 && (int(stat.Gid) == os.Getegid() || slices.Contains(groups, int(stat.Gid)))
}

// ReadCredential reads a key that systemd has put where only this service
// finds it. It lets the service's user in by an access list, which looks
// like a right of the group.
func ReadCredential(path string) (secret.Bytes, error) {
	return read(path, func(info fs.FileInfo) bool { return info.Mode().Perm()&0o037 == 0 })
}

func read(path string, ours func(fs.FileInfo) bool) (secret.Bytes, error) {
	info, err := os.Stat(path)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the wrapping key: %w", err)
	}

	if info.IsDir() {
		return secret.Bytes{}, fmt.Errorf("reading the wrapping key: %s is a folder: name the file in it, such as %s", path, filepath.Join(path, "wrapping.key"))
	}
	if !ours(info) {
		return secret.Bytes{}, fmt.Errorf("reading the wrapping key %s: others may read it; make it mode 0600", path)
	}
	if info.Size() != KeySize {
		return secret.Bytes{}, fmt.Errorf("reading the wrapping key %s: it has %d bytes, not %d", path, info.Size(), KeySize)
	}

	b, err := os.ReadFile(path)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the wrapping key: %w", err)
	}
	return secret.Own(b), nil
}

// argon2id's cost for a passphrase file: RFC 9106, section 4, second choice.
const (
	argonTime   = 3
	argonMemory = 64 << 10 // KiB
	argonLanes  = 4
)

// SaltSize is the size of a salt, in bytes.
const SaltSize = 16

// Derive derives a key from a passphrase file and a salt file. A newline at
// the passphrase's end is not part of it.
func Derive(passphrasePath, saltPath string) (secret.Bytes, error) {
	salt, err := os.ReadFile(saltPath)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the wrapping salt: %w", err)
	}
	b, err := datafile.Read(passphrasePath, 64<<10)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the wrapping passphrase: %w", err)
	}
	defer clear(b)
	passphrase := bytes.TrimRight(b, "\r\n")
	if len(passphrase) < 12 || len(passphrase) > 1024 || len(salt) != SaltSize {
		return secret.Bytes{}, errors.New("reading the wrapping passphrase: it must have 12 to 1,024 bytes")
	}
	return secret.Own(argon2.IDKey(passphrase, salt, argonTime, argonMemory, argonLanes, KeySize)), nil
}
