package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"latchkey/internal/plan"
)

// A SourceConfig is one entry of a volume's sources: a word, or a mapping
// with the one key "key-file" or "clevis".
type SourceConfig struct {
	Word    string
	KeyFile KeyFileConfig // if Word is "key-file"
	Clevis  ClevisConfig  // if Word is "clevis"
}

// A ClevisConfig says which tokens of clevis may open a volume.
type ClevisConfig struct {
	Tang []string      `yaml:"tang"`
	Wait time.Duration `yaml:"wait"`
}

// A KeyFileConfig is where a key is.
type KeyFileConfig struct {
	Device string        `yaml:"device"`
	Path   string        `yaml:"path"`
	Offset int64         `yaml:"offset"`
	Size   int64         `yaml:"size"`
	Wait   time.Duration `yaml:"wait"`
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (c *SourceConfig) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		switch c.Word = n.Value; c.Word {
		case plan.SourceKeyFile:
			return fmt.Errorf("line %d: sources: %s needs to know which file: - key-file: {device: LABEL=KEYS, path: root.key}", n.Line, c.Word)
		case plan.SourceClevis:
			return fmt.Errorf("line %d: sources: %s needs to know whom to trust: - clevis: {tang: [THUMBPRINT]}", n.Line, c.Word)
		}
		return nil
	}
	var to any
	if n.Kind == yaml.MappingNode && len(n.Content) == 2 {
		c.Word = n.Content[0].Value
		to = map[string]any{plan.SourceKeyFile: &c.KeyFile, plan.SourceClevis: &c.Clevis}[c.Word]
	}
	if to == nil {
		return fmt.Errorf("line %d: sources: want %s, %s, or a mapping with the one key %s or %s", n.Line, plan.SourceKMS, plan.SourcePrompt, plan.SourceKeyFile, plan.SourceClevis)
	}

	// A node decodes itself with unknown fields; a decoder does not.
	text, err := yaml.Marshal(n.Content[1])
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(to); err != nil {
		return fmt.Errorf("line %d: sources: %s: %w", n.Line, c.Word, err)
	}
	return nil
}

// name is what the plan calls the source. Volumes that name the same file
// share it, so that it is read once.
func (c SourceConfig) name(p *plan.Plan) string {
	if c.Word == plan.SourceClevis { // one for all volumes: what one may be opened by, all may
		for _, t := range c.Clevis.Tang {
			if !slices.Contains(p.Clevis.Tang, t) {
				p.Clevis.Tang = append(p.Clevis.Tang, t)
			}
		}
		p.Clevis.Wait = max(p.Clevis.Wait, c.Clevis.Wait)
	}
	if c.Word != plan.SourceKeyFile {
		return c.Word
	}
	f := plan.KeyFile{Device: c.KeyFile.Device, Path: c.KeyFile.Path, Offset: c.KeyFile.Offset, Size: c.KeyFile.Size, Wait: c.KeyFile.Wait}
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

// addKeys puts the keys that the image holds into it, and says what is
// doubtful about their files.
func addKeys(a *archive, p *plan.Plan) (warnings []string, err error) {
	for _, f := range p.KeyFiles {
		if f.Device != "" {
			continue
		}
		key, mode, err := readKey(f)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f, err)
		}
		if mode&0o044 != 0 {
			warnings = append(warnings, fmt.Sprintf("%s can be read by others (mode %04o): chmod 0400", f.Path, mode))
		}
		a.file(f.InImage()[1:], key, 0o400)
	}
	return warnings, nil
}

func readKey(f plan.KeyFile) (key []byte, mode os.FileMode, err error) {
	file, err := os.Open(f.Path)
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
