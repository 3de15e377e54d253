package initramfs

import (
	"strings"

	"latchkey/internal/plan"
	"latchkey/internal/rootdir"
)

// Files are those that a configuration names and an image holds: keys,
// headers and certificates. Some may not be there.
func (c *Config) Files(p *plan.Plan) (names []string) {
	for _, f := range p.KeyFiles {
		if f.Device == "" {
			names = append(names, c.at(f.Path))
		}
	}
	for _, v := range p.Volumes {
		if v.Header != nil && v.Header.Device == "" {
			names = append(names, c.at(v.Header.Path))
		}
	}
	for _, v := range c.Volumes {
		for _, s := range v.Sources {
			for _, name := range s.certificateFiles() {
				names = append(names, c.at(name))
			}
		}
	}
	return names
}

// at is where a file is that the configuration names.
func (c *Config) at(name string) string {
	if c.root == "" {
		return name
	}
	return rootdir.Path(c.root, name)
}

func (c SourceConfig) certificateFiles() (names []string) {
	var all []string
	if c.Clevis != nil {
		all = append(all, c.Clevis.CA...)
	}
	if c.Kairos != nil {
		all = append(all, c.Kairos.CA...)
	}
	if c.TalosKMS != nil {
		all = append(all, c.TalosKMS.CA...)
	}
	for _, name := range all {
		if !strings.HasPrefix(name, "-----BEGIN") {
			names = append(names, name)
		}
	}
	return names
}
