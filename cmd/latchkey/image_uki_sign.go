package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"latchkey/initramfs/bootentry"
	"latchkey/initramfs/uki"
	"latchkey/internal/datafile"
)

// write signs the image if asked to and puts it in its place; by says who
// signed. The old image stays there until the new one is whole, on the disk,
// and was read back.
func (o *imageUKI) write(image []byte) (by string, err error) {
	at := newPlace(o.build.output)
	if o.build.installs {
		at.tries = bootentry.Tries(o.build.root())
	}
	by, err = o.writeAt(at, image)
	if errors.Is(err, unix.ENOSPC) && o.build.installs {
		if made, roomErr := at.makeRoom(); made {
			by, err = o.writeAt(at, image)
		} else if roomErr != nil {
			err = errors.Join(err, roomErr)
		}
	}
	return by, roomAdvice(err, o.build.output)
}

func (o *imageUKI) writeAt(at place, image []byte) (by string, err error) {
	at.sweep()
	dir, err := os.MkdirTemp(filepath.Dir(at.path), "."+filepath.Base(at.path)+"-*")
	if err != nil {
		return "", fmt.Errorf("writing the image: %w", err)
	}
	defer os.RemoveAll(dir)
	if held, err := os.Open(dir); err == nil {
		defer held.Close()
		hold(held)
	}

	unsigned, signed := filepath.Join(dir, "unsigned.efi"), filepath.Join(dir, "signed.efi")
	switch {
	case o.signer != "" || strings.HasPrefix(o.bootKey, "pkcs11:"):
		if err := writeSynced(unsigned, image); err != nil {
			return "", err
		}
		if by, image, err = o.callSigner(unsigned, signed); err == nil {
			err = errors.Join(syncFile(signed), os.Remove(unsigned))
		}
	case o.bootKey != "":
		by = o.bootCertificate
		if image, err = o.signBoot(image); err == nil {
			err = writeSynced(signed, image)
		}
	default:
		err = writeSynced(signed, image)
	}
	if err != nil {
		return "", err
	}

	sum := sha256.Sum256(image)
	if err := readBack(signed, sum[:]); err != nil {
		return "", err
	}
	if o.build.installs {
		err = at.put(signed)
	} else {
		err = datafile.Replace(signed, at.path)
	}
	if err != nil {
		return "", fmt.Errorf("writing the image: %w", err)
	}
	return by, nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (o *imageUKI) signBoot(image []byte) ([]byte, error) {
	key, err := os.ReadFile(o.bootKey)
	if err != nil {
		return nil, fmt.Errorf("reading --boot-key: %w", err)
	}
	certificate, err := os.ReadFile(o.bootCertificate)
	if err != nil {
		return nil, fmt.Errorf("reading --boot-cert: %w", err)
	}
	return uki.SignBoot(image, key, certificate)
}

// callSigner lets another program sign: the one that was named, or sbsign
// with OpenSSL's PKCS#11 engine, which asks for the PIN itself.
func (o *imageUKI) callSigner(unsigned, signed string) (by string, data []byte, err error) {
	args := []string{o.signer, unsigned, signed}
	by = o.signer
	if o.signer == "" {
		args = []string{"sbsign", "--engine", "pkcs11", "--key", o.bootKey, "--cert", o.bootCertificate, "--output", signed, unsigned}
		by = o.bootCertificate
	}

	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = os.Stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", nil, fmt.Errorf("signing the image: %s: %w: %s", args[0], err, pinValue.ReplaceAllString(strings.TrimSpace(string(out)), "${1}…"))
	}

	data, err = os.ReadFile(signed)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil, fmt.Errorf("signing the image: %s ended well and wrote no %s", args[0], filepath.Base(signed))
	}
	if err != nil {
		return "", nil, fmt.Errorf("signing the image: %w", err)
	}
	if _, err := uki.Read(data); err != nil {
		return "", nil, fmt.Errorf("signing the image: what %s wrote: %w", args[0], err)
	}

	return by, data, nil
}

// pinValue is the PIN in a URI (RFC 7512, section 2.4), which belongs in
// nobody's log.
var pinValue = regexp.MustCompile(`(pin-value=)[^;?&\s]*`)

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing the image: %w", err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the image: %w", err)
	}
	return nil
}
