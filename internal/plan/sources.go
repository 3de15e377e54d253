package plan

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The sources of keys that this init has. A volume names them, and files
// with keys by the name of their KeyFile.
const (
	SourceKMS     = "kms"
	SourcePrompt  = "prompt"
	SourcePush    = "push" // what the key server gives by a person's word
	SourceKeyFile = "key-file"
	SourceClevis  = "clevis"
	SourceSystemd = "systemd-tpm2"
	SourceKairos  = "kairos"
)

// HeadStart is how much earlier a source begins than the question at the
// console that a volume lists behind it: with [kms, prompt] most boots never
// show the question. Before other sources it is Plan.HeadStart.
const HeadStart = 10 * time.Second

// DefaultHeadStart is Plan.HeadStart unless latchkey.yaml says another.
const DefaultHeadStart = 3 * time.Second

// maxKeyFiles bounds the files with keys of a plan.
const maxKeyFiles = 8

// MaxKeyBytes is the longest key in a file: what cryptsetup takes by default
// (DEFAULT_KEYFILE_SIZE_MAXKB, 8 MiB).
const MaxKeyBytes = 8 << 20

// A KeyFile is a file with a key: in the image, or on a device that somebody
// plugs in.
type KeyFile struct {
	// Name is what volumes list: "key-file", "key-file-2" and so on.
	Name string `json:"name"`
	// Device is LABEL=, UUID=, PARTUUID= or PARTLABEL= of the file system
	// that holds the file. "" is the image: the file is KeyFile.InImage.
	Device string `json:"device,omitempty"`
	// Path is the file's on the device, or where the image's was taken from.
	// "" is the device itself.
	Path string `json:"path,omitempty"`
	// Offset and Size are of the key in the file or on the device, in bytes:
	// keyfile-offset= and keyfile-size= of crypttab(5). A Size of 0 is the
	// rest of the file.
	Offset int64 `json:"offset,omitempty"`
	Size   int64 `json:"size,omitempty"`
	// Wait is how long the device is looked for; 0 is Plan.Wait.
	Wait time.Duration `json:"wait_ns,omitempty"`
}

// InImage is where the image has the file.
func (f KeyFile) InImage() string { return "/keys/" + f.Name }

// String says which file it is.
func (f KeyFile) String() string {
	switch {
	case f.Device == "":
		return "the key file " + f.Path + " in the image"
	case f.Path == "":
		return "the key on the device " + f.Device
	}
	return "the key file " + f.Path + " on " + f.Device
}

func (f KeyFile) check() error {
	switch key, value, tagged := strings.Cut(f.Device, "="); {
	case f.Name != SourceKeyFile && !strings.HasPrefix(f.Name, SourceKeyFile+"-") || len(f.Name) > 16 || strings.ContainsAny(f.Name, "/\n"):
		return fmt.Errorf("its name is %q", f.Name)
	case f.Device == "" && f.Path == "":
		return fmt.Errorf("path is missing: name the file, and with device: LABEL=… the stick that it is on")
	case f.Device != "" && (!tagged || len(f.Device) > 256 || !printable(f.Device)):
		return fmt.Errorf("device is %.80q, want LABEL=, UUID=, PARTUUID= or PARTLABEL=", f.Device)
	case f.Device != "" && checkTag(key, value) != nil:
		return fmt.Errorf("device is %q: %w", f.Device, checkTag(key, value))
	case len(f.Path) > 1024 || !printable(f.Path) || slices.Contains(strings.Split(f.Path, "/"), ".."):
		return fmt.Errorf("path is %.80q, want at most 1024 printable characters without ../", f.Path)
	case f.Offset < 0 || f.Size < 0 || f.Size > MaxKeyBytes:
		return fmt.Errorf("offset and size must not be negative, and size at most %d bytes", MaxKeyBytes)
	case f.Device != "" && f.Path == "" && f.Size == 0:
		return fmt.Errorf("size is missing: a device has no end of file that would tell how long the key is")
	case f.Wait < 0:
		return fmt.Errorf("wait is negative")
	}
	return nil
}

// KeyFile finds a file by the name that volumes list.
func (p *Plan) KeyFile(name string) (f KeyFile, ok bool) {
	i := slices.IndexFunc(p.KeyFiles, func(f KeyFile) bool { return f.Name == name })
	if i < 0 {
		return KeyFile{}, false
	}
	return p.KeyFiles[i], true
}

// KeyFileWait is how long a file's device is looked for; 0 is for ever.
func (p *Plan) KeyFileWait(f KeyFile) time.Duration {
	if f.Wait > 0 {
		return f.Wait
	}
	return p.Wait
}

// maxTangKeys bounds the keys of tang servers of a plan, and the sealed
// secrets beside them.
const maxTangKeys = 16

// Clevis says which tokens of clevis may open volumes.
type Clevis struct {
	// Tang are the thumbprints of tang's exchange keys ("kid" in a token):
	// base64url of a SHA-1 or SHA-256, RFC 7638.
	Tang []string `json:"tang,omitempty"`
	// Sealed are SHA-256 of the public parts of secrets that clevis sealed to
	// the TPM, in hex.
	Sealed []string `json:"sealed,omitempty"`
	// TLS says how servers of URLs https:// are known.
	TLS TLS `json:"tls,omitzero"`
	// Wait is how long the servers are asked; 0 is for ever.
	Wait time.Duration `json:"wait_ns,omitempty"`
}

func (p *Plan) checkClevis() error {
	c := p.Clevis
	if err := c.TLS.check(SourceClevis); err != nil {
		return err
	}
	switch {
	case c.TLS.Any() && len(c.Tang) == 0:
		return fmt.Errorf("clevis: ca and pin are for tang servers, and tang is empty")
	case c.Wait < 0:
		return fmt.Errorf("clevis: wait is negative")
	case len(c.Tang) > maxTangKeys:
		return fmt.Errorf("clevis: tang has %d entries, the limit is %d", len(c.Tang), maxTangKeys)
	case len(c.Sealed) > maxTangKeys:
		return fmt.Errorf("clevis: sealed has %d entries, the limit is %d", len(c.Sealed), maxTangKeys)
	case p.lists(SourceClevis) && len(c.Tang)+len(c.Sealed) == 0:
		return fmt.Errorf("clevis: tang and sealed are empty: latchkey volume inspect DEVICE prints what belongs there (docs/sources.md)")
	}
	for _, t := range c.Tang {
		if raw, err := base64.RawURLEncoding.DecodeString(t); err != nil || len(raw) != 20 && len(raw) != 32 {
			return fmt.Errorf("clevis: tang: %.80q is not the thumbprint of a key: 43 or 27 letters of base64url", t)
		}
	}
	for _, s := range c.Sealed {
		if raw, err := hex.DecodeString(s); err != nil || len(raw) != 32 || strings.ToLower(s) != s {
			return fmt.Errorf("clevis: sealed: %.80q is not 64 hex digits: latchkey volume inspect DEVICE prints them", s)
		}
	}
	return nil
}

func (p *Plan) checkSources() error {
	if err := p.checkWays(); err != nil {
		return err
	}
	if err := p.checkClevis(); err != nil {
		return err
	}
	if err := p.checkSystemd(); err != nil {
		return err
	}
	if err := p.checkDegraded(); err != nil {
		return err
	}
	if err := p.checkMultipath(); err != nil {
		return err
	}
	if err := p.checkKairos(); err != nil {
		return err
	}
	if err := p.checkTalos(); err != nil {
		return err
	}
	if p.HeadStart < 0 {
		return fmt.Errorf("head-start is negative")
	}
	if len(p.KeyFiles) > maxKeyFiles {
		return fmt.Errorf("there are %d key files, the limit is %d", len(p.KeyFiles), maxKeyFiles)
	}

	known := []string{SourceKMS, SourcePush, SourcePrompt, SourceClevis, SourceSystemd, SourceKairos, SourceTalosKMS, SourceTalosTPM, SourceTalosNode}
	for _, f := range p.KeyFiles {
		if err := f.check(); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if slices.Contains(known, f.Name) {
			return fmt.Errorf("two key files have the name %s", f.Name)
		}
		known = append(known, f.Name)
	}
	if err := p.checkRecipes(known); err != nil {
		return err
	}
	for _, r := range p.Recipes {
		known = append(known, r.Name)
	}
	for i, v := range p.Volumes {
		if len(v.Sources) == 0 {
			return fmt.Errorf("volumes[%d]: sources is empty, want some of %s, %s, %s", i, SourceKMS, SourcePrompt, SourceKeyFile)
		}
		if err := eachOnce("sources", v.Sources, known); err != nil {
			return fmt.Errorf("volumes[%d]: %w", i, err)
		}
		if slices.Contains(v.Sources, SourcePush) && !slices.Contains(v.Sources, SourceKMS) {
			return fmt.Errorf("volumes[%d]: sources: %s comes in the answers to %s, which is not listed", i, SourcePush, SourceKMS)
		}
	}
	return nil
}

// HeadStartOf is how much earlier than this source the ones before it begin.
func (p *Plan) HeadStartOf(source string) time.Duration {
	if source == SourcePrompt {
		return HeadStart
	}
	return p.HeadStart
}

// UsesTPM tells whether a source needs the TPM to open a volume. Each way of
// a recipe has the key server or a secret of the TPM in it.
func UsesTPM(source string) bool {
	return strings.HasPrefix(source, SourceTogether) || source == SourceKMS || source == SourcePush || source == SourceSystemd || source == SourceKairos || source == SourceTalosTPM
}

func (p *Plan) lists(source string) bool {
	return slices.ContainsFunc(p.Volumes, func(v Volume) bool { return p.Uses(v, source) })
}

// NeedsKMS tells whether some volume names the KMS as a source.
func (p *Plan) NeedsKMS() bool { return p.lists(SourceKMS) }

// NeedsNetwork tells whether some source is asked over the network.
func (p *Plan) NeedsNetwork() bool { return p.NeedsKMS() || p.NeedsOthers() }

// NeedsOthers tells whether servers that are no key server may be asked.
func (p *Plan) NeedsOthers() bool { return p.NeedsTang() || p.NeedsKairos() || p.NeedsTalosKMS() }

// NeedsTang tells whether a tang server may be asked.
func (p *Plan) NeedsTang() bool { return p.lists(SourceClevis) && len(p.Clevis.Tang) > 0 }

// Servers says what is asked over the network, for people.
func (p *Plan) Servers() string {
	var names []string
	for _, one := range []struct {
		needed bool
		name   string
	}{{p.NeedsKMS(), "trusted key server"}, {p.NeedsTang(), "tang server"}, {p.NeedsKairos(), "server of Kairos' protocol"}, {p.NeedsTalosKMS(), "Talos KMS"}} {
		if one.needed {
			names = append(names, one.name)
		}
	}
	return strings.Join(names, " or ")
}

// AsksAtConsole tells whether a person at the console may open some volume.
func (p *Plan) AsksAtConsole() bool { return p.lists(SourcePrompt) || p.AsksForPIN() }

// AsksForPIN tells whether a person may be asked for a PIN of the TPM.
func (p *Plan) AsksForPIN() bool { return p.Systemd.PIN && p.lists(SourceSystemd) }

// ReadsSticks tells whether a key or a header may be on a device that is
// plugged in.
func (p *Plan) ReadsSticks() bool {
	onStick := func(v Volume) bool { return v.Header != nil && v.Header.Device != "" }
	return slices.ContainsFunc(p.Volumes, onStick) || slices.ContainsFunc(p.KeyFiles, func(f KeyFile) bool { return f.Device != "" && p.lists(f.Name) })
}

// sparesTPM tells whether a source may open a volume without the TPM.
func (p *Plan) sparesTPM(source string) bool {
	return !UsesTPM(source) && (source != SourceClevis || len(p.Clevis.Tang) > 0)
}

// SparesTPM tells whether each volume that the boot cannot do without may be
// opened by something else than the TPM.
func (p *Plan) SparesTPM() bool {
	return !slices.ContainsFunc(p.Volumes, func(v Volume) bool { return !v.NoFail && !p.Spares(v) })
}

// Spares tells whether a volume may be opened by something else than the TPM.
func (p *Plan) Spares(v Volume) bool { return slices.ContainsFunc(v.Sources, p.sparesTPM) }
