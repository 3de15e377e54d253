package main

import (
	"fmt"
	"os"
	"strings"

	"latchkey/initramfs"
	"latchkey/initramfs/uki"
	"latchkey/internal/datafile"
)

func (o *imageUKI) sections(stub *uki.Stub, kernel, initrd []byte, version string) ([]uki.Section, error) {
	cmdline, err := textOrFile(o.cmdline)
	if err != nil {
		return nil, fmt.Errorf("reading the command line: %w", err)
	}
	words := strings.Join(strings.Fields(string(cmdline)), " ")
	if initrd, err = initramfs.WithCmdline(initrd, words); err != nil {
		return nil, err
	}
	osrel, err := datafile.Read(o.osrel, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("reading --os-release: %w", err)
	}

	all := []uki.Section{
		{Name: ".osrel", Data: osrel},
		{Name: ".cmdline", Data: []byte(words)},
		{Name: ".initrd", Data: initrd},
		{Name: ".linux", Data: kernel},
	}
	if version != "" && stub.Measures(".uname") {
		all = append(all, uki.Section{Name: ".uname", Data: []byte(version)})
	}
	more, err := o.optional(stub)
	if err != nil {
		return nil, err
	}
	all = append(all, more...)
	if o.pcrKey == "" {
		return all, nil
	}

	return o.signPCR(stub, all)
}

// optional are the sections that only some machines want.
func (o *imageUKI) optional(stub *uki.Stub) ([]uki.Section, error) {
	var all []uki.Section
	for _, f := range []struct{ section, flag, path string }{{".ucode", "--ucode", o.ucode}, {".dtb", "--dtb", o.dtb}} {
		if f.path == "" {
			continue
		}
		data, err := datafile.Read(f.path, maxPart)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.flag, err)
		}
		all = append(all, uki.Section{Name: f.section, Data: data})
	}

	if o.sbat == "" {
		return all, nil
	}
	lines, err := textOrFile(o.sbat)
	if err != nil {
		return nil, fmt.Errorf("reading --sbat: %w", err)
	}
	sbat, err := stub.SBAT(lines)
	if err != nil {
		return nil, err
	}
	return append(all, sbat), nil
}

// textOrFile is a flag's value, or the file that it names with an @.
func textOrFile(value string) ([]byte, error) {
	if name, ok := strings.CutPrefix(value, "@"); ok {
		return os.ReadFile(name)
	}
	return []byte(value), nil
}

// signPCR adds the public key, which is measured, and the signature of the
// values that PCR 11 will have.
// signingKey is the public half of --pcr-key in PEM, nil without one.
func (o *imageUKI) signingKey() ([]byte, error) {
	if o.pcrKey == "" {
		return nil, nil
	}
	signer, err := o.pcrSigner()
	if err != nil {
		return nil, err
	}
	return signer.PublicKey(), nil
}

func (o *imageUKI) pcrSigner() (*uki.Signer, error) {
	text, err := os.ReadFile(o.pcrKey)
	if err != nil {
		return nil, fmt.Errorf("reading --pcr-key: %w", err)
	}
	signer, err := uki.ReadSigner(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.pcrKey, err)
	}
	return signer, nil
}

func (o *imageUKI) signPCR(stub *uki.Stub, all []uki.Section) ([]uki.Section, error) {
	signer, err := o.pcrSigner()
	if err != nil {
		return nil, err
	}

	all = append(all, uki.Section{Name: ".pcrpkey", Data: signer.PublicKey()})
	var values [][32]byte
	for _, p := range o.phases {
		values = append(values, stub.PCR11(all, strings.Split(p, ":")...))
	}
	signature, err := signer.Sign(values...)
	if err != nil {
		return nil, err
	}

	if o.signature != "" {
		// The key server gets no more than the state in which a machine asks.
		asks, err := signer.Sign(stub.PCR11(all, uki.InInitrd))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(o.signature, asks, 0o644); err != nil {
			return nil, fmt.Errorf("writing --pcr-signature: %w", err)
		}
	}

	return append(all, uki.Section{Name: ".pcrsig", Data: signature}), nil
}
