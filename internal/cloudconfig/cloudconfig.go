// Package cloudconfig reads what the cloud-configs of Kairos say of encrypted
// partitions. All other keys, and there are many, are somebody else's.
package cloudconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Dirs are where a machine of Kairos has its cloud-configs.
var Dirs = []string{"/oem", "/sysroot/oem", "/tmp/oem", "/run/cos/oem"}

// maxFile bounds a cloud-config, in bytes.
const maxFile = 1 << 20

// ErrUnread is a cloud-config that cannot be read, and has no word of kcrypt.
var ErrUnread = errors.New("nothing of this file is used")

// A Config is what all files together say. What a later one says wins.
type Config struct {
	Server      string // challenger_server
	MDNS        bool
	Certificate string // PEM, or the path of a file with it
	Legacy      *bool  // ours: whether the older exchange may be used
	NVIndex     uint32 // 0: not said
	CIndex      uint32
	TPMDevice   string
	// Encrypted are the labels of install.encrypted_partitions.
	Encrypted []string
}

// Read reads the files below each of dirs, in their order; those of one are
// in the order of their paths. A directory that is not there says nothing. A
// file that cannot be read, or whose kcrypt is wrong, is an error that names
// the line: what a machine is to do is not known then. Note is told of what is
// passed over: keys of other programs, and what wraps ErrUnread.
func Read(dirs []string, note func(error)) (Config, error) {
	var c Config
	var bad []error
	for _, dir := range dirs {
		root := dir + "/" // it may be a link
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch ext := filepath.Ext(path); {
			case err != nil && path == root && errors.Is(err, fs.ErrNotExist):
				return fs.SkipAll
			case err != nil:
				bad = append(bad, err)
				return nil
			case d.IsDir() || ext != ".yaml" && ext != ".yml":
				return nil
			}
			if err := c.file(path, note); err != nil {
				bad = append(bad, err)
			}
			return nil
		})
		bad = append(bad, err)
	}
	return c, errors.Join(bad...)
}

func (c *Config) file(path string, note func(error)) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: it is no file", path)
	case info.Size() > maxFile:
		return fmt.Errorf("%s: it has %d bytes, the limit is %d", path, info.Size(), maxFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return c.Add(path, text, note)
}

// headers are the first lines of what is a cloud-config.
var headers = []string{"#cloud-config", "#kairos-config", "#node-config"}

// Add takes all that one file says or, if something in it is wrong, nothing.
// One that is no cloud-config says nothing.
func (c *Config) Add(name string, text []byte, note func(error)) error {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	known := false
	for _, h := range headers {
		known = known || strings.TrimSpace(string(first)) == h
	}
	if !known {
		return nil
	}
	r := &reader{name: name, text: text, note: note, next: *c}
	if err := r.file(); err != nil {
		return err
	}
	*c = r.next
	return nil
}

// Alone says what is set that needs a server, where there is none: a machine
// that is to ask one does not keep its passphrase by itself.
func (c *Config) Alone() error {
	for _, s := range []struct {
		name string
		set  bool
	}{{"mdns", c.MDNS}, {"certificate", c.Certificate != ""}, {"legacy", c.Legacy != nil}} {
		if c.Server == "" && s.set {
			return fmt.Errorf("kcrypt.challenger.%s is set, and kcrypt.challenger.challenger_server is not: set it, or neither", s.name)
		}
	}
	return nil
}
