package initramfs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"latchkey/internal/plan"
)

// A SourceConfig is one entry of a volume's sources: a word, or a mapping
// with one key, such as "key-file".
type SourceConfig struct {
	Word    string         `yaml:"-"`
	KeyFile *KeyFileConfig `yaml:"key-file"`
	Clevis  *ClevisConfig  `yaml:"clevis"`
	Systemd *SystemdConfig `yaml:"systemd-tpm2"`
	Kairos  *KairosConfig  `yaml:"kairos"`

	TalosKMS  *TalosKMSConfig  `yaml:"talos-kms"`
	TalosTPM  *SealedConfig    `yaml:"talos-tpm2"`
	TalosNode *TalosNodeConfig `yaml:"talos-node-id"`

	// Need of the sources Of open the volume together.
	Need int            `yaml:"need" least:"1"`
	Of   []MemberConfig `yaml:"of" least:"2" most:"8"`
}

// A SystemdConfig says which tokens of systemd-cryptenroll may open a volume.
type SystemdConfig struct {
	SealedConfig
	PIN bool `yaml:"pin"` // may be asked for
}

// A SealedConfig names secrets that the TPM keeps.
type SealedConfig struct {
	Sealed []string `yaml:"sealed"`
}

// A ClevisConfig says which tokens of clevis may open a volume.
type ClevisConfig struct {
	Tang   []string      `yaml:"tang"`
	Sealed []string      `yaml:"sealed"`
	CA     []string      `yaml:"ca"`  // files, or certificates as PEM
	Pin    []string      `yaml:"pin"` // as plan.TLS has them
	Wait   time.Duration `yaml:"wait"`

	certificates []string // of CA, as PEM
}

// A KeyFileConfig is where a key is.
type KeyFileConfig struct {
	Device string        `yaml:"device"`
	Path   string        `yaml:"path"`
	Offset int64         `yaml:"offset"`
	Size   int64         `yaml:"size"`
	Wait   time.Duration `yaml:"wait"`
}

// UnmarshalText implements encoding.TextUnmarshaler, for sources that are a
// word.
func (c *SourceConfig) UnmarshalText(text []byte) error {
	switch c.Word = string(text); c.Word {
	case plan.SourceKeyFile:
		return fmt.Errorf("%s needs to know which file: - key-file: {device: LABEL=KEYS, path: root.key}", c.Word)
	case plan.SourceClevis:
		return fmt.Errorf("%s needs to know whom to trust: - clevis: {tang: [THUMBPRINT]}", c.Word)
	case plan.SourceKairos:
		return fmt.Errorf("%s needs to know whom to ask: - kairos: {server: https://kms.local, mdns: true, ca: [kms.pem]}", c.Word)
	case plan.SourceTalosKMS:
		return fmt.Errorf("%s needs to know whom to ask: - talos-kms: {url: https://…, sealed: [HEX]}", c.Word)
	case plan.SourceTalosNode:
		return fmt.Errorf("%s needs to know what Talos calls the volume: - talos-node-id: {volume: EPHEMERAL}", c.Word)
	}
	if !slices.Contains(sourceWords, c.Word) {
		return unknownSource(c.Word)
	}
	return nil
}

// Schema implements strictyaml.Schemer.
func (c *SourceConfig) Schema(of func(v any) map[string]any) map[string]any {
	type mapping SourceConfig // the keys, without what reads a word
	keys := of(mapping{})
	return map[string]any{"anyOf": []any{
		map[string]any{"enum": []string{plan.SourceKMS, plan.SourcePush, plan.SourcePrompt, plan.SourceSystemd}},
		oneKey(keys),
	}}
}

// word is the source's kind.
func (c SourceConfig) word() string {
	switch {
	case c.KeyFile != nil:
		return plan.SourceKeyFile
	case c.Clevis != nil:
		return plan.SourceClevis
	case c.Systemd != nil:
		return plan.SourceSystemd
	case c.Kairos != nil:
		return plan.SourceKairos
	}
	if c.together() {
		return plan.SourceTogether
	}
	return cmp.Or(c.talosWord(), c.Word)
}

// kinds counts the keys that are set.
func (c SourceConfig) kinds() (n int) {
	for _, set := range []bool{c.KeyFile != nil, c.Clevis != nil, c.Systemd != nil, c.Kairos != nil, c.TalosKMS != nil, c.TalosTPM != nil, c.TalosNode != nil, c.together()} {
		if set {
			n++
		}
	}
	return n
}

// checkSources wants each source of a volume to be one.
func (c *Config) checkSources(volume int) error {
	list := fmt.Sprintf("volumes[%d].sources", volume)
	if _, said := c.lines[list]; said && len(c.Volumes[volume].Sources) == 0 {
		return fmt.Errorf("%s: an empty list opens nothing: name a source, or leave the key out for %s", list, plan.SourceKMS)
	}
	for i, s := range c.Volumes[volume].Sources {
		if s.word() == "" || s.kinds() > 1 {
			return fmt.Errorf("volumes[%d].sources[%d]: want %s, %s, %s, or a mapping with the one key %s, %s, %s, %s, %s, %s or %s, or with need: 2 and of: […]", volume, i, plan.SourceKMS, plan.SourcePush, plan.SourcePrompt,
				plan.SourceKeyFile, plan.SourceClevis, plan.SourceSystemd, plan.SourceKairos, plan.SourceTalosKMS, plan.SourceTalosTPM, plan.SourceTalosNode)
		}
		if err := c.checkKairos(s.Kairos); err != nil {
			return fmt.Errorf("volumes[%d].sources[%d].%s: %w", volume, i, plan.SourceKairos, err)
		}
		var err error
		if s.Clevis != nil {
			s.Clevis.certificates, err = c.readCAs(s.Clevis.CA)
		}
		if s.TalosKMS != nil {
			err = s.TalosKMS.read(c)
		}
		if s.together() {
			if err := checkCombination(s.Need, s.Of); err != nil {
				return fmt.Errorf("volumes[%d].sources[%d].%w", volume, i, err)
			}
		}
		if err != nil {
			return fmt.Errorf("volumes[%d].sources[%d].%s.%w", volume, i, s.word(), err)
		}
	}
	return nil
}

// name is what the plan calls the source. Volumes that name the same file
// share it, so that it is read once.
func (c SourceConfig) name(p *plan.Plan) string {
	if c.together() {
		return c.recipe(p)
	}
	c.talos(p)
	if c.Systemd != nil {
		p.Systemd.Sealed = union(p.Systemd.Sealed, lowered(c.Systemd.Sealed))
		p.Systemd.PIN = p.Systemd.PIN || c.Systemd.PIN
	}
	if c.Kairos != nil {
		p.Kairos = c.Kairos.plan()
	}
	if c.Clevis != nil { // one for all volumes: what one may be opened by, all may
		p.Clevis.Tang = union(p.Clevis.Tang, c.Clevis.Tang)
		p.Clevis.Sealed = union(p.Clevis.Sealed, lowered(c.Clevis.Sealed))
		p.Clevis.TLS.CA = union(p.Clevis.TLS.CA, c.Clevis.certificates)
		p.Clevis.TLS.Pins = union(p.Clevis.TLS.Pins, c.Clevis.Pin)
		p.Clevis.Wait = max(p.Clevis.Wait, c.Clevis.Wait)
	}
	if c.KeyFile == nil {
		return c.word()
	}
	return c.KeyFile.name(p)
}

// name is what the plan calls the file.
func (c *KeyFileConfig) name(p *plan.Plan) string {
	f := plan.KeyFile{Device: c.Device, Path: c.Path, Offset: c.Offset, Size: c.Size, Wait: c.Wait}
	for _, have := range p.KeyFiles {
		if f.Name = have.Name; f == have {
			return f.Name
		}
	}
	f.Name = plan.SourceKeyFile
	if n := len(p.KeyFiles); n > 0 {
		f.Name = fmt.Sprintf("%s-%d", plan.SourceKeyFile, n+1)
	}
	p.KeyFiles = append(p.KeyFiles, f)
	return f.Name
}

// union is what is in one of two lists.
func union(list, more []string) []string {
	for _, t := range more {
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return list
}

// addKeys puts the keys that the image holds into it, and says what is
// doubtful about their files.
func addKeys(a *archive, c *Config, p *plan.Plan) (warnings []string, err error) {
	for _, f := range p.KeyFiles {
		if f.Device != "" {
			continue
		}
		if text, ok := c.texts[f.Path]; ok {
			a.file(f.InImage()[1:], []byte(text), 0o400)
			continue
		}
		key, mode, err := readKey(f, c.at(f.Path))
		if err != nil {
			return nil, fmt.Errorf("%s: path: reading %s: %w", f.Name, f, err)
		}
		if mode&0o044 != 0 {
			warnings = append(warnings, fmt.Sprintf("%s can be read by others (mode %04o): chmod 0400", f.Path, mode))
		}
		a.file(f.InImage()[1:], key, 0o400)
	}
	return warnings, nil
}

func readKey(f plan.KeyFile, path string) (key []byte, mode os.FileMode, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("it is no regular file")
	}

	size := f.Size
	if size == 0 {
		size = info.Size() - f.Offset
	}
	if size <= 0 || size > plan.MaxKeyBytes {
		return nil, 0, fmt.Errorf("it has %d bytes from byte %d on, want 1 to %d", max(size, 0), f.Offset, plan.MaxKeyBytes)
	}
	key = make([]byte, size)
	if n, err := file.ReadAt(key, f.Offset); err == io.EOF && int64(n) < size {
		return nil, 0, fmt.Errorf("it has %d bytes from byte %d on, and the key has %d", n, f.Offset, size)
	} else if int64(n) < size {
		return nil, 0, err
	}
	return key, info.Mode().Perm(), nil
}
