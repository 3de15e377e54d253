package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"latchkey/internal/cloudconfig"
)

// kairosNV is where Kairos keeps the passphrase of a machine that asks no
// server, unless nv_index says another.
const kairosNV = 0x1500000

// AddKairos adds the volumes of install.encrypted_partitions, asked for as
// kcrypt says. Header gives those of this machine; an error that wraps
// fs.ErrNotExist says that there is none with the label, and then the volume
// has the UUID that Kairos makes of it. Labels that the configuration has
// already are left as they are there.
func (c *Config) AddKairos(dir string, k cloudconfig.Config, header func(label string) (TalosHeader, error)) error {
	if len(k.Encrypted) == 0 {
		return fmt.Errorf("%s: no cloud-config there has install.encrypted_partitions", dir)
	}
	source := &KairosConfig{Server: k.Server, MDNS: k.MDNS, Legacy: k.Legacy != nil && *k.Legacy, NVIndex: k.NVIndex, CIndex: k.CIndex}
	if k.Certificate != "" && strings.HasPrefix(k.Server, "https:") {
		source.CA = []string{k.Certificate}
	}
	if source.NVIndex == 0 && k.Server == "" {
		source.NVIndex = kairosNV
	}
	for _, label := range k.Encrypted {
		if slices.ContainsFunc(c.Volumes, func(v VolumeConfig) bool { return v.Label == label }) {
			continue
		}
		h, err := header(label)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: partition %s: %w", dir, label, err)
		}
		c.Volumes = append(c.Volumes, VolumeConfig{Label: label, Name: label, UUID: h.UUID, Digest: h.Digest, Sources: []SourceConfig{{Kairos: source}}})
	}
	if err := c.checkKairos(source); err != nil {
		return fmt.Errorf("%s: kcrypt.challenger: %w", dir, err)
	}
	return nil
}
