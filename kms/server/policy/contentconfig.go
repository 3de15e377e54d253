package policy

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"latchkey/kms/server/eventlog"
)

// A ContentConfig is a Content as the configuration has it. Certificates are
// the name of a well-known one, sha256:HEX of the DER, or a file.
type ContentConfig struct {
	SecureBoot  *bool       `yaml:"secure-boot"` // on: it must be
	PK          []string    `yaml:"pk"`
	KEK         []string    `yaml:"kek"`
	DB          []string    `yaml:"db"`
	DBX         string      `yaml:"dbx"` // file: a signature list, or an update as uefi.org has them
	SBAT        []SBATLevel `yaml:"sbat"`
	Signers     []string    `yaml:"signers"`
	Image       string      `yaml:"image"`    // signed: any that signers vouch for
	Programs    []string    `yaml:"programs"` // names of policy.programs, or sha256:HEX
	CommandLine []string    `yaml:"command-line"`
	Firmware    []string    `yaml:"firmware"`
}

// A ProgramConfig names a program that firmware starts.
type ProgramConfig struct {
	Name   string `yaml:"name"`
	SHA256 Digest `yaml:"sha256"` // of Authenticode, as firmware measures it
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *SBATLevel) UnmarshalText(b []byte) error {
	f := strings.Fields(string(b))
	if len(f) == 2 {
		n, err := strconv.ParseUint(f[1], 10, 16)
		if err == nil && n > 0 {
			l.Component, l.Generation = f[0], int(n)
			return nil
		}
	}
	return fmt.Errorf("reading %.60q: want a component and its lowest generation, as in shim 4", b)
}

func (c ContentConfig) content(read func(string) ([]byte, error), programs map[Digest]string) (_ *Content, err error) {
	if err := c.says(); err != nil {
		return nil, err
	}
	out := &Content{SBAT: c.SBAT, Firmware: c.Firmware}
	if c.SecureBoot != nil {
		if !*c.SecureBoot {
			return nil, errors.New("secure-boot: want on; without this key it is not asked")
		}
		out.SecureBoot = true
	}
	for _, one := range []struct {
		key   string
		names []string
		to    *[]Digest
	}{{"pk", c.PK, &out.PK}, {"kek", c.KEK, &out.KEK}, {"db", c.DB, &out.DB}, {"signers", c.Signers, &out.Signers}} {
		for _, name := range one.names {
			d, err := certificate(name, read)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", one.key, err)
			}
			*one.to = append(*one.to, d)
		}
	}
	for _, name := range c.Programs {
		d, err := program(name, programs)
		if err != nil {
			return nil, fmt.Errorf("programs: %w", err)
		}
		out.Programs = append(out.Programs, d)
	}
	for _, line := range c.CommandLine {
		out.CommandLine = append(out.CommandLine, strings.Join(strings.Fields(line), " "))
	}
	if c.DBX != "" {
		if out.DBX, err = revocations(c.DBX, read); err != nil {
			return nil, fmt.Errorf("dbx: %w", err)
		}
	}
	return out, c.image(out)
}

// says refuses lists that could mean all or nothing, and a content of which
// any boot is.
func (c ContentConfig) says() error {
	some := c.SecureBoot != nil || c.DBX != "" || c.Image != "" || len(c.SBAT) > 0
	for _, list := range []struct {
		key   string
		words []string
	}{
		{"pk", c.PK},
		{"kek", c.KEK},
		{"db", c.DB},
		{"signers", c.Signers},
		{"programs", c.Programs},
		{"command-line", c.CommandLine},
		{"firmware", c.Firmware},
	} {
		if list.words != nil && len(list.words) == 0 {
			return fmt.Errorf("%s: an empty list: say what is allowed, or leave it out", list.key)
		}
		some = some || len(list.words) > 0
	}
	if !some {
		return errors.New("it asks for nothing, so that any boot would match")
	}
	return nil
}

// image: what PCR 11 holds may be anything, if it is known who signed it.
func (c ContentConfig) image(out *Content) error {
	switch {
	case c.Image == "":
	case c.Image != "signed":
		return fmt.Errorf("image: %.40q: want signed, or leave it out", c.Image)
	case !out.SecureBoot || out.Signers == nil:
		return errors.New("image: signed needs secure-boot: on and signers")
	case slices.ContainsFunc(out.Signers, func(d Digest) bool { _, ok := eventlog.Known(d); return ok }):
		return errors.New("image: signed cannot be with Microsoft's certificates among the signers: they vouch for boot loaders that start any initrd")
	default:
		out.AnySigned = true
	}
	return nil
}

// certificate is the digest of one that is named.
func certificate(name string, read func(string) ([]byte, error)) (d Digest, err error) {
	if w, ok := eventlog.Named(name); ok {
		return w.SHA256, nil
	}
	if digits, ok := strings.CutPrefix(name, "sha256:"); ok {
		return d, d.UnmarshalText([]byte(digits))
	}
	if !strings.ContainsAny(name, "/.") {
		return d, fmt.Errorf("%.60q: there is no well-known certificate of that name; there are %s; or give sha256:HEX, or a file", name, strings.Join(eventlog.Names(), ", "))
	}
	b, err := read(name)
	if err != nil {
		return d, err
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	if _, err := x509.ParseCertificate(b); err != nil {
		return d, fmt.Errorf("%s is no certificate: %w", name, err)
	}
	return sha256.Sum256(b), nil
}

func program(name string, programs map[Digest]string) (d Digest, err error) {
	if digits, ok := strings.CutPrefix(name, "sha256:"); ok {
		return d, d.UnmarshalText([]byte(digits))
	}
	for digest, called := range programs {
		if called == name {
			return digest, nil
		}
	}
	return d, fmt.Errorf("%.60q: policy.programs has no such name; or give sha256:HEX", name)
}

// pkcs7 is EFI_CERT_TYPE_PKCS7_GUID, as it lies in memory.
var pkcs7 = []byte("\x9d\xd2\xaf\x4a\xdf\x68\xee\x49\x8a\xa9\x34\x7d\x37\x56\x65\xa7")

// revocations reads a file of signature lists. One that uefi.org publishes
// has EFI_VARIABLE_AUTHENTICATION_2 in front: a time of 16 bytes, then a
// WIN_CERTIFICATE with its length (UEFI 2.10, section 8.2.2).
func revocations(file string, read func(string) ([]byte, error)) (eventlog.Prints, error) {
	b, err := read(file)
	if err != nil {
		return nil, err
	}
	if len(b) > 40 && string(b[24:40]) == string(pkcs7) {
		n := 16 + uint64(binary.LittleEndian.Uint32(b[16:]))
		if n > uint64(len(b)) {
			return nil, fmt.Errorf("%s is cut short", file)
		}
		b = b[n:]
	}
	k := eventlog.ReadKeys(b)
	if k.Hashes.Len() == 0 || k.Others > 0 {
		return nil, fmt.Errorf("%s is no list of revocations: %d digests, and %d entries of other kinds", file, k.Hashes.Len(), k.Others)
	}
	return slices.Clip(k.Hashes), nil
}

// programNames reads policy.programs.
func programNames(list []ProgramConfig) (map[Digest]string, error) {
	names := map[Digest]string{}
	for _, p := range list {
		if strings.TrimSpace(p.Name) == "" || p.SHA256 == (Digest{}) {
			return nil, errors.New("a program needs name and sha256")
		}
		if before, twice := names[p.SHA256]; twice {
			return nil, fmt.Errorf("%s and %s have one sha256, %s", before, p.Name, hex.EncodeToString(p.SHA256[:]))
		}
		names[p.SHA256] = p.Name
	}
	return names, nil
}
