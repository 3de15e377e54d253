package home

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"latchkey/kms/ledger"

	"latchkey/internal/cli"
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
	held     Keys // those that are here already
	ask      *wrapping.Asker
	hand     func([]wrapping.Share) error
}

// keeping is how this KMS' wrapping key is kept.
func (h Home) keeping() keeping {
	k := keepingOf(h.Wrapping, h.Data)
	k.ask = h.Ask
	return k
}

func keepingOf(s config.Wrapping, data string) keeping {
	switch {
	case s.TPM != "":
		return keeping{Wrapping: s, material: filepath.Join(data, "wrapping.tpm")}
	case s.Passphrase != "":
		return keeping{Wrapping: s, material: filepath.Join(data, "wrapping.salt")}
	case s.Exec.Set():
		return keeping{Wrapping: s, material: filepath.Join(data, "wrapping.exec")}
	case s.Transit.Set():
		return keeping{Wrapping: s, material: filepath.Join(data, "wrapping.transit")}
	case s.Shares != "":
		return keeping{Wrapping: s, material: filepath.Join(data, "wrapping.shares")}
	case s.Key == "" && credential() == "":
		s.Key = filepath.Join(data, "wrapping.key")
	}
	return keeping{Wrapping: s, material: s.Key} // none for a credential: it is not ours
}

// driver is what makes and reads the material. A TPM holds it to these PCRs.
func (k keeping) driver(pcrs []int) wrapping.Driver {
	switch {
	case k.TPM != "":
		return wrapping.Chip{Path: k.TPM, PCRs: pcrs}
	case k.Passphrase != "":
		return wrapping.Passphrase(k.Passphrase)
	case k.Exec.Set():
		return wrapping.Program{WrapArgs: k.Exec.Wrap, UnwrapArgs: k.Exec.Unwrap, Env: k.Exec.Environment, Timeout: k.Exec.Limit()}
	case k.Transit.Set():
		return transitOf(&k.Transit)
	case k.Shares != "":
		needed, of, _ := k.ShareNumbers() // judged by config
		return &wrapping.Shares{Needed: needed, Of: of, Hand: k.hand, Ask: k.ask}
	}
	return wrapping.File{}
}

func transitOf(t *config.WrappingTransit) wrapping.Transit {
	d := wrapping.Transit{Address: t.Address, Mount: cmp.Or(t.Mount, "transit"), Key: t.Key, Namespace: t.Namespace, CA: t.CA, TokenFile: t.TokenFile}
	switch a, k := t.AppRole, t.Kubernetes; {
	case a.RoleID != "":
		d.Login = &wrapping.TransitLogin{Path: "auth/" + cmp.Or(a.Mount, "approle") + "/login", Name: "role_id", NameOf: a.RoleID, Secret: "secret_id", FileOf: a.SecretID}
	case k.Role != "":
		d.Login = &wrapping.TransitLogin{Path: "auth/" + cmp.Or(k.Mount, "kubernetes") + "/login", Name: "role", NameOf: k.Role, Secret: "jwt", FileOf: cmp.Or(k.Token, config.PodToken)}
	}
	return d
}

// read gets the key by a file of material.
func (k keeping) read(ctx context.Context, material string) (secret.Bytes, error) {
	if k.material == "" {
		return wrapping.ReadCredential(credential())
	}
	if key, ok := k.held[material]; ok {
		return key.Clone(), nil
	}
	key, err := k.driver(nil).Unwrap(ctx, material)
	return key, configured(err)
}

// configured gives an error of what the configuration names, and this host
// has not, the exit code of a wrong configuration.
func configured(err error) error {
	if errors.Is(err, wrapping.ErrSetup) {
		return &cli.Exit{Code: cli.Usage, Err: err}
	}
	return err
}

// again gets the key once more, for data keys that are added while the server
// runs.
func (k keeping) again(ctx context.Context) (secret.Bytes, error) {
	if k.Shares != "" && k.ask == nil {
		return secret.Bytes{}, fmt.Errorf("%w: people have it, in shares, and a server that runs asks nobody; stop it, and run: latchkey-kms store rekey", ledger.ErrRefused)
	}
	k.held = nil
	return k.read(ctx, k.material)
}

// put writes material for a key, reads the key back and returns it: a new one
// if key is empty, or what a passphrase and a new salt make. A key that does
// not come back must not wrap anything.
func (k keeping) put(ctx context.Context, material string, key secret.Bytes, pcrs []int) (secret.Bytes, error) {
	if key.Len() == 0 {
		key = secret.Random(wrapping.KeySize)
	}
	defer key.Wipe()
	d := k.driver(pcrs)
	text, err := d.Wrap(ctx, key)
	if err != nil {
		return secret.Bytes{}, configured(err)
	}
	if err := datafile.Write(material, text); err != nil {
		return secret.Bytes{}, fmt.Errorf("writing %s: %w", material, err)
	}

	back, err := d.Unwrap(ctx, material)
	if err == nil && k.Passphrase == "" && !back.Equal(key) {
		err = errors.New("it is not the one that was written")
		back.Wipe()
	}
	if err != nil {
		os.Remove(material)
		return secret.Bytes{}, fmt.Errorf("reading the new key back: %w", err)
	}
	return back, nil
}

// make is put for a KMS that is new; material that is there already is
// used as it is.
func (k keeping) make(ctx context.Context, pcrs []int) (secret.Bytes, error) {
	if k.material == "" {
		return k.read(ctx, "")
	}
	if _, err := os.Stat(k.material); !errors.Is(err, fs.ErrNotExist) {
		return k.read(ctx, k.material)
	}
	return k.put(ctx, k.material, secret.Bytes{}, pcrs)
}

// fresh is material of a change that is not finished.
func (k keeping) fresh() string { return k.material + ".new" }

// opening opens a KMS with this key. If the power went between the change
// of the key in the database and that of its file, the new one fits, and
// the change is finished.
func (k keeping) opening(ctx context.Context, open func(secret.Bytes) (*server.Server, error)) (*server.Server, error) {
	s, err, mayBeNew := k.try(ctx, k.material, open)
	if err == nil || k.material == "" || !mayBeNew {
		return s, err
	}

	if _, none := os.Stat(k.fresh()); none != nil {
		return nil, k.unfit(err)
	}
	s, second, _ := k.try(ctx, k.fresh(), open)
	if second != nil {
		return nil, k.unfit(err)
	}

	if err := os.Rename(k.fresh(), k.material); err != nil {
		if s != nil {
			s.Close()
		}
		return nil, fmt.Errorf("finishing the change of the wrapping key: %w", err)
	}
	return s, nil
}

// unfit says of shares that were all right, and give the key of another
// database, what is wrong: no more shares mend it.
func (k keeping) unfit(err error) error {
	if k.Shares == "" || !errors.Is(err, ledger.ErrWrappingKey) {
		return err
	}
	return &cli.Exit{Code: cli.Usage, Err: fmt.Errorf("%w: the shares are right, but %s, by which they were judged, is of another key server, or of before a change of the wrapping key; put the one there that belongs to this database", err, k.material)}
}

// try opens a KMS by this material. If it cannot, unfit tells whether other
// material may do: this one makes no key, or another one.
func (k keeping) try(ctx context.Context, material string, open func(secret.Bytes) (*server.Server, error)) (s *server.Server, err error, unfit bool) {
	key, err := k.read(ctx, material)
	if err != nil {
		return nil, err, true
	}
	defer key.Wipe()
	s, err = open(key)
	return s, err, errors.Is(err, ledger.ErrWrappingKey)
}
