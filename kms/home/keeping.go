package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"latchkey/kms/ledger"

	"latchkey/internal/datafile"
	"latchkey/internal/secret"
	"latchkey/kms/config"
	"latchkey/kms/server"
	"latchkey/kms/wrapping"
)

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
	config.Wrapping
	material string
}

// keeping is how this KMS' wrapping key is kept.
func (h Home) keeping() keeping { return keepingOf(h.Wrapping, h.Data) }

func keepingOf(s config.Wrapping, data string) keeping {
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

	if err := datafile.Write(material, text); err != nil {
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
	if err == nil || k.material == "" || !errors.Is(err, ledger.ErrWrappingKey) && !errors.Is(err, fs.ErrNotExist) {
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
		if s != nil {
			s.Close()
		}
		return nil, fmt.Errorf("finishing the change of the wrapping key: %w", err)
	}
	return s, nil
}
