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
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Dirs are where a machine of Kairos has its cloud-configs.
var Dirs = []string{"/oem", "/sysroot/oem", "/tmp/oem", "/run/cos/oem"}

// maxFile bounds a cloud-config, in bytes.
const maxFile = 1 << 20

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

// challenger is kcrypt.challenger. What concerns the TPM stood there once, and
// now stands in kcrypt.
type challenger struct {
	Server      *string   `yaml:"challenger_server"`
	MDNS        yaml.Node `yaml:"mdns"`
	Certificate *string   `yaml:"certificate"`
	Legacy      yaml.Node `yaml:"legacy"`
	Device      `yaml:",inline"`
}

// A Device is what either place says of the TPM.
type Device struct {
	NVIndex   yaml.Node `yaml:"nv_index"`
	CIndex    yaml.Node `yaml:"c_index"`
	TPMDevice *string   `yaml:"tpm_device"`
}

type document struct {
	Install struct {
		Encrypted []string `yaml:"encrypted_partitions"`
	} `yaml:"install"`
	Kcrypt struct {
		Challenger challenger `yaml:"challenger"`
		Device     `yaml:",inline"`
	} `yaml:"kcrypt"`
}

// Read reads the files below each of dirs, in their order; those of one are
// in the order of their paths. A directory that is not there says nothing. A
// file that cannot be read says nothing either, and warn is told why.
func Read(dirs []string, warn func(error)) Config {
	var c Config
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			switch ext := filepath.Ext(path); {
			case err != nil && path == dir && errors.Is(err, fs.ErrNotExist):
				return fs.SkipAll
			case err != nil:
				warn(err)
				return nil
			case d.IsDir() || ext != ".yaml" && ext != ".yml":
				return nil
			}
			if err := c.file(path); err != nil {
				warn(fmt.Errorf("%s is left out: %w", path, err))
			}
			return nil
		})
		if err != nil {
			warn(err)
		}
	}
	return c
}

func (c *Config) file(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("it is no file")
	case info.Size() > maxFile:
		return fmt.Errorf("it has %d bytes, the limit is %d", info.Size(), maxFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return c.Add(text)
}

// headers are the first lines of what is a cloud-config.
var headers = []string{"#cloud-config", "#kairos-config", "#node-config"}

// Add takes what one file says. One that is no cloud-config says nothing.
func (c *Config) Add(text []byte) error {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	known := false
	for _, h := range headers {
		known = known || strings.TrimSpace(string(first)) == h
	}
	if !known {
		return nil
	}
	var d document
	if err := yaml.Unmarshal(text, &d); err != nil {
		return err
	}
	return c.take(&d)
}

// take takes all of a document or, if something in it is wrong, nothing.
func (c *Config) take(d *document) error {
	next, ch := *c, d.Kcrypt.Challenger
	for _, s := range []struct {
		from *string
		to   *string
	}{{ch.Server, &next.Server}, {ch.Certificate, &next.Certificate}, {ch.TPMDevice, &next.TPMDevice}, {d.Kcrypt.TPMDevice, &next.TPMDevice}} {
		if s.from != nil {
			*s.to = *s.from
		}
	}
	var legacy bool
	err := errors.Join(
		truth("kcrypt.challenger.mdns", ch.MDNS, &next.MDNS),
		truth("kcrypt.challenger.legacy", ch.Legacy, &legacy),
		handle("kcrypt.challenger.nv_index", ch.NVIndex, &next.NVIndex),
		handle("kcrypt.challenger.c_index", ch.CIndex, &next.CIndex),
		handle("kcrypt.nv_index", d.Kcrypt.NVIndex, &next.NVIndex),
		handle("kcrypt.c_index", d.Kcrypt.CIndex, &next.CIndex),
	)
	if err != nil {
		return err
	}
	if !ch.Legacy.IsZero() {
		next.Legacy = &legacy
	}
	if d.Install.Encrypted != nil {
		next.Encrypted = d.Install.Encrypted
	}
	*c = next
	return nil
}

// truth reads true or false, quoted or not.
func truth(name string, n yaml.Node, to *bool) (err error) {
	if n.IsZero() {
		return nil
	}
	if *to, err = strconv.ParseBool(n.Value); err != nil {
		return fmt.Errorf("line %d: %s is %.40q, want true or false", n.Line, name, n.Value)
	}
	return nil
}

// handle reads a number such as 0x1500000, quoted or not.
func handle(name string, n yaml.Node, to *uint32) error {
	if n.IsZero() || n.Value == "" {
		return nil
	}
	v, err := strconv.ParseUint(n.Value, 0, 32)
	if err != nil || v == 0 {
		return fmt.Errorf("line %d: %s is %.40q, want a number such as 0x1500000", n.Line, name, n.Value)
	}
	*to = uint32(v)
	return nil
}

// AddCommandLine takes what the kernel's command line says.
func (c *Config) AddCommandLine(text string) error {
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "kcrypt.challenger.challenger_server":
			c.Server = value
		case "kcrypt.challenger.certificate":
			c.Certificate = value
		case "kcrypt.challenger.mdns":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return fmt.Errorf("kernel command line: %s is %.40q, want true or false", name, value)
			}
			c.MDNS = on
		}
	}
	return nil
}
