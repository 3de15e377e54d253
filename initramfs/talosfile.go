package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"latchkey/internal/plan"
	"latchkey/internal/strictyaml"
)

// A TalosVolume is one that a configuration of Talos encrypts.
type TalosVolume struct {
	ID   string // what Talos calls it, its partition and its mapping: STATE, EPHEMERAL, u-NAME
	keys []talosKey
}

// talosState is the volume that keeps the salt of lockToState.
const talosState = "STATE"

// A talosKey is one of encryption.keys.
type talosKey struct {
	Slot   int `yaml:"slot"`
	Static *struct {
		Passphrase string `yaml:"passphrase"`
	} `yaml:"static"`
	NodeID *struct{} `yaml:"nodeID"`
	KMS    *struct {
		Endpoint string `yaml:"endpoint"`
	} `yaml:"kms"`
	TPM         *struct{} `yaml:"tpm"`
	LockToState bool      `yaml:"lockToState"`
	LockToSTATE bool      `yaml:"lockToSTATE"` // as one of Talos' pages spells it
}

// A talosDocument is one of a configuration, as far as it is read.
type talosDocument struct {
	Kind       string `yaml:"kind"`
	Name       string `yaml:"name"`
	Encryption *struct {
		Provider string     `yaml:"provider"`
		Keys     []talosKey `yaml:"keys"`
	} `yaml:"encryption"`
}

// ReadTalos reads a configuration of Talos: its documents VolumeConfig and
// UserVolumeConfig. All others, and what else stands in these, is Talos'
// business. STATE comes first.
func ReadTalos(name string, r io.Reader) (volumes []TalosVolume, err error) {
	text, err := io.ReadAll(io.LimitReader(r, strictyaml.MaxBytes+1))
	if err == nil && len(text) > strictyaml.MaxBytes {
		err = fmt.Errorf("it has more than %d bytes", strictyaml.MaxBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var n yaml.Node
		var doc talosDocument
		if err := d.Decode(&n); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		line := n.Content[0].Line // a document that is empty is a null
		if err := n.Decode(&doc); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		v, ok, err := doc.volume()
		if err == nil && ok && slices.ContainsFunc(volumes, func(o TalosVolume) bool { return o.ID == v.ID }) {
			err = fmt.Errorf("volume %s is there twice", v.ID)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		if ok {
			volumes = append(volumes, v)
		}
	}
	if len(volumes) == 0 {
		return nil, fmt.Errorf("%s: no VolumeConfig or UserVolumeConfig has encryption", name)
	}
	slices.SortStableFunc(volumes, func(a, b TalosVolume) int {
		rank := map[bool]int{true: 0, false: 1}
		return rank[a.ID == talosState] - rank[b.ID == talosState]
	})
	return volumes, nil
}

func (d talosDocument) volume() (v TalosVolume, ok bool, err error) {
	switch {
	case d.Kind != "VolumeConfig" && d.Kind != "UserVolumeConfig" || d.Encryption == nil:
		return v, false, nil
	case d.Name == "":
		return v, false, fmt.Errorf("this %s has no name", d.Kind)
	case d.Encryption.Provider != "luks2":
		return v, false, fmt.Errorf("volume %s: encryption.provider is %.40q, want luks2", d.Name, d.Encryption.Provider)
	case len(d.Encryption.Keys) == 0:
		return v, false, fmt.Errorf("volume %s: encryption.keys is empty", d.Name)
	}
	v = TalosVolume{ID: d.Name, keys: d.Encryption.Keys}
	if d.Kind == "UserVolumeConfig" {
		v.ID = "u-" + d.Name
	}
	slices.SortStableFunc(v.keys, func(a, b talosKey) int { return a.Slot - b.Slot }) // as Talos tries them
	for i, k := range v.keys {
		kinds := 0
		for _, set := range []bool{k.Static != nil, k.NodeID != nil, k.KMS != nil, k.TPM != nil} {
			if set {
				kinds++
			}
		}
		switch {
		case kinds != 1:
			return v, false, fmt.Errorf("volume %s: the key of slot %d is not one of static, nodeID, kms and tpm", v.ID, k.Slot)
		case i > 0 && v.keys[i-1].Slot == k.Slot:
			return v, false, fmt.Errorf("volume %s: two keys have slot %d", v.ID, k.Slot)
		case k.locked() && v.ID == talosState:
			return v, false, fmt.Errorf("volume %s cannot be locked to itself (lockToState)", v.ID)
		case k.Static != nil && k.Static.Passphrase == "":
			return v, false, fmt.Errorf("volume %s: the key of slot %d has no passphrase", v.ID, k.Slot)
		}
	}
	return v, true, nil
}

func (k talosKey) locked() bool { return k.LockToState || k.LockToSTATE }

// A TalosHeader is what is known of a volume's header on this machine.
type TalosHeader struct{ UUID, Digest string }

// AddTalos makes volumes of those of Talos. What latchkey.yaml says of a
// volume of the same name counts beside it: uuid and digest, or else find looks
// for the header on this machine, by its partition's label; and sources, which
// come behind Talos'.
func (c *Config) AddTalos(file string, volumes []TalosVolume, find func(label string) (TalosHeader, error)) error {
	own := c.Volumes
	c.Volumes = nil
	for _, v := range volumes {
		to := VolumeConfig{Name: v.ID}
		if i := slices.IndexFunc(own, func(o VolumeConfig) bool { return o.Name == v.ID }); i >= 0 {
			to = own[i]
			own = slices.Delete(slices.Clone(own), i, i+1)
		}
		if to.UUID == "" || to.Digest == "" {
			h, err := find(v.ID)
			switch {
			case err != nil:
				return fmt.Errorf("%s: volume %s: %w (or write it into latchkey.yaml: volumes: [{name: %s, uuid: …, digest: …}])", file, v.ID, err, v.ID)
			case to.UUID != "" && to.UUID != h.UUID:
				return fmt.Errorf("%s: volume %s of this machine has the UUID %s, and in latchkey.yaml %s without a digest", file, v.ID, h.UUID, to.UUID)
			}
			to.UUID, to.Digest = h.UUID, h.Digest
		}
		if slices.ContainsFunc(v.keys, talosKey.locked) {
			to.State = talosState
		}
		var err error
		if to.Sources, err = c.talosSources(file, v, to.Sources); err != nil {
			return fmt.Errorf("%s: volume %s: %w", file, v.ID, err)
		}
		c.Volumes = append(c.Volumes, to)
	}
	c.Volumes = append(c.Volumes, own...)
	maps.DeleteFunc(c.lines, func(key, _ string) bool { return strings.HasPrefix(key, "volumes[") }) // they are others now
	return nil
}

// talosSources are the sources of a volume: Talos' in the order of slots, each
// kind once, and then the volume's own. What those say of a kind that Talos has
// goes into Talos'.
func (c *Config) talosSources(file string, v TalosVolume, own []SourceConfig) (all []SourceConfig, err error) {
	kms := &TalosKMSConfig{}
	for _, s := range own {
		if s.TalosKMS != nil {
			*kms = *s.TalosKMS
		}
	}
	for _, k := range v.keys {
		var s SourceConfig
		switch {
		case k.KMS != nil:
			kms.URL = append(kms.URL, k.KMS.Endpoint)
			s.TalosKMS = kms
		case k.TPM != nil:
			s.TalosTPM = &SealedConfig{}
		case k.NodeID != nil:
			s.TalosNode = &TalosNodeConfig{Volume: v.ID}
		default:
			s.KeyFile = &KeyFileConfig{Path: fmt.Sprintf("%s, %s, slot %d", filepath.Base(file), v.ID, k.Slot)}
			c.addText(s.KeyFile.Path, k.Static.Passphrase)
		}
		if s.KeyFile != nil || !hasWord(all, s.word()) {
			all = append(all, s)
		}
	}
	kms.certificates, kms.urls = nil, nil
	if err := kms.read(c); err != nil {
		return nil, fmt.Errorf("%s.%w", plan.SourceTalosKMS, err)
	}
	for _, s := range own {
		if s.KeyFile != nil || !hasWord(all, s.word()) {
			all = append(all, s)
		}
	}
	return all, nil
}

func hasWord(list []SourceConfig, word string) bool {
	return slices.ContainsFunc(list, func(s SourceConfig) bool { return s.word() == word })
}

// addText keeps a key that is in no file, by what stands for its path.
func (c *Config) addText(path, text string) {
	if c.texts == nil {
		c.texts = map[string]string{}
	}
	c.texts[path] = text
}
