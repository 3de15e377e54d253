package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"latchkey/internal/secret"
	"latchkey/kms/server"
	"latchkey/kms/wrapping"
)

// A wrappingSection says where the key is that wraps the database's key. If
// it says nothing, that is the systemd credential, else a file beside the
// database.
type wrappingSection struct {
	Key        string `yaml:"key" restart:"yes"`        // file of 32 bytes
	Passphrase string `yaml:"passphrase" restart:"yes"` // file to derive it from
	TPM        string `yaml:"tpm" restart:"yes"`        // device that unseals it
}

// check implements section.
func (s *wrappingSection) check() error {
	n := 0
	for _, set := range []string{s.Key, s.Passphrase, s.TPM} {
		if set != "" {
			n++
		}
	}
	if n > 1 {
		return faultf("", "key, passphrase and tpm exclude each other")
	}
	return nil
}

// flags adds the flags of all commands.
func (s *wrappingSection) flags(f *pflag.FlagSet) {
	f.StringVar(&s.Key, "wrapping-key", "", "file of the key that wraps the database's key (default: the systemd credential latchkey-kms.wrapping-key, else wrapping.key in the data directory)")
	f.StringVar(&s.Passphrase, "wrapping-passphrase", "", "file of a passphrase to derive the wrapping key from, instead of a key file")
	f.StringVar(&s.TPM, "wrapping-tpm", "", "TPM of this host that unseals the wrapping key (wrapping.tpm in the data directory), e.g. /dev/tpmrm0")
}

// over takes the file's word if no flag said anything.
func (s *wrappingSection) over(file wrappingSection, f *pflag.FlagSet) error {
	if !f.Changed("wrapping-key") && !f.Changed("wrapping-passphrase") && !f.Changed("wrapping-tpm") {
		*s = file
	}
	return s.check()
}

// credential is where systemd puts a wrapping key: "" if it did not.
func credential() string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return ""
	}
	path := filepath.Join(dir, "latchkey-kms.wrapping-key")
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// A keeping is one way to keep a wrapping key. Its material is the file that
// a change of the key replaces.
type keeping struct {
	wrappingSection
	material string
}

func (s wrappingSection) in(data string) keeping {
	switch {
	case s.TPM != "":
		return keeping{s, filepath.Join(data, "wrapping.tpm")}
	case s.Passphrase != "":
		return keeping{s, filepath.Join(data, "wrapping.salt")}
	case s.Key == "" && credential() == "":
		s.Key = filepath.Join(data, "wrapping.key")
	}
	return keeping{s, s.Key} // none for a credential: it is not ours
}

// read gets the key by a file of material.
func (k keeping) read(material string) (secret.Bytes, error) {
	switch {
	case k.TPM != "":
		return unsealFile(k.TPM, material)
	case k.Passphrase != "":
		return wrapping.Derive(k.Passphrase, material)
	case k.Key == "":
		return wrapping.ReadCredential(credential())
	}
	return wrapping.ReadFile(material)
}

func unsealFile(tpm, path string) (secret.Bytes, error) {
	blob, err := os.ReadFile(path)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the sealed wrapping key: %w", err)
	}
	bus, err := wrapping.Open(tpm)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer bus.Close()
	return wrapping.Unseal(bus, blob)
}

// put writes material for a key and returns it: a new one if key is empty,
// or, for a passphrase, what is derived from it with a new salt.
func (k keeping) put(material string, key secret.Bytes, pcrs []int) (secret.Bytes, error) {
	if key.Len() == 0 {
		key = secret.Random(wrapping.KeySize)
	}
	var text []byte

	switch {
	case k.TPM != "":
		bus, err := wrapping.Open(k.TPM)
		if err != nil {
			return key, err
		}
		defer bus.Close()
		if text, err = wrapping.Seal(bus, key, pcrs); err != nil {
			return key, err
		}
	case k.Passphrase != "":
		text = secret.Random(wrapping.SaltSize).Reveal()
	default:
		text = key.Reveal()
	}

	if err := server.WriteFile(material, text); err != nil {
		return key, fmt.Errorf("writing %s: %w", material, err)
	}
	if k.Passphrase != "" {
		key.Wipe()
		return k.read(material)
	}

	return key, nil
}

// make is put for a KMS that is new; material that is there already is
// used as it is.
func (k keeping) make(pcrs []int) (secret.Bytes, error) {
	if k.material == "" {
		return k.read("")
	}
	if _, err := os.Stat(k.material); !errors.Is(err, fs.ErrNotExist) {
		return k.read(k.material)
	}
	return k.put(k.material, secret.Bytes{}, pcrs)
}

// fresh is material of a change that is not finished.
func (k keeping) fresh() string { return k.material + ".new" }

// opening opens a KMS with this key. If the power went between the change
// of the key in the database and that of its file, the new one fits, and
// the change is finished.
func (k keeping) opening(open func(secret.Bytes) (*server.Server, error)) (*server.Server, error) {
	try := func(material string) (*server.Server, error) {
		key, err := k.read(material)
		if err != nil {
			return nil, err
		}
		defer key.Wipe()
		return open(key)
	}

	s, err := try(k.material)
	if err == nil || k.material == "" || !errors.Is(err, server.ErrWrappingKey) && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}

	if _, none := os.Stat(k.fresh()); none != nil {
		return nil, err
	}
	s, second := try(k.fresh())
	if second != nil {
		return nil, err
	}

	if err := os.Rename(k.fresh(), k.material); err != nil {
		s.Close()
		return nil, fmt.Errorf("finishing the change of the wrapping key: %w", err)
	}
	return s, nil
}
