package server

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/crypto/argon2"

	"latchkey/internal/secret"
)

// A MarkFile keeps the epoch's high-water mark in a file.
type MarkFile string

// Read implements Mark. A mark that is not there is an error: it is written
// when a KMS is initialised.
func (m MarkFile) Read() (uint64, error) {
	b, err := os.ReadFile(string(m))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading %s: not a number", string(m))
	}
	return n, nil
}

// Write implements Mark: whole or not at all.
func (m MarkFile) Write(epoch uint64) error {
	return WriteFile(string(m), strconv.AppendUint(nil, epoch, 10))
}

// WriteFile replaces a file so that a power cut leaves the old or the new
// one, and syncs it. Its mode is 0600.
func WriteFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// ReadWrappingKey reads a wrapping key: a file of 32 bytes that only its
// owner can read; or root's, for a group of ours to read, which is how
// Kubernetes hands a Secret to a pod that is not root (fsGroup).
func ReadWrappingKey(path string) (secret.Bytes, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Bytes{}, fmt.Errorf("reading the wrapping key: %w", err)
	}
	if err != nil {
		return secret.Bytes{}, err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 && (perm&0o037 != 0 || !handed(info)) {
		return secret.Bytes{}, fmt.Errorf("reading the wrapping key %s: others may read it; make it mode 0600", path)
	}
	if info.Size() != 32 {
		return secret.Bytes{}, fmt.Errorf("reading the wrapping key %s: it has %d bytes, not 32", path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return secret.Bytes{}, err
	}
	return secret.Own(b), nil
}

// handed tells whether a file is root's and its group one of ours, while we
// are not root.
func handed(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	groups, err := os.Getgroups()
	return ok && err == nil && os.Geteuid() != 0 && stat.Uid == 0 && (int(stat.Gid) == os.Getegid() || slices.Contains(groups, int(stat.Gid)))
}

// argon2id's cost for a passphrase file: RFC 9106, section 4, second choice.
const (
	argonTime   = 3
	argonMemory = 64 << 10 // KiB
	argonLanes  = 4
)

// DeriveWrappingKey derives the wrapping key from a passphrase file and a
// salt file. A newline at the passphrase's end is not part of it.
func DeriveWrappingKey(passphrasePath, saltPath string) (secret.Bytes, error) {
	salt, err := os.ReadFile(saltPath)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the wrapping salt: %w", err)
	}
	b, err := os.ReadFile(passphrasePath)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the wrapping passphrase: %w", err)
	}
	defer clear(b)
	passphrase := bytes.TrimRight(b, "\r\n")
	if len(passphrase) < 12 || len(passphrase) > 1024 || len(salt) != 16 {
		return secret.Bytes{}, errors.New("reading the wrapping passphrase: it must have 12 to 1,024 bytes")
	}
	return secret.Own(argon2.IDKey(passphrase, salt, argonTime, argonMemory, argonLanes, 32)), nil
}
