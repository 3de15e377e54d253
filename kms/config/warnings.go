package config

import (
	"fmt"
	"strconv"
)

// Warnings are what the configuration allows and hardly anybody means, one
// line each: where it stands, what it does, what to write instead.
func (c *Config) Warnings() (lines []string) {
	ends := map[string]*Endpoint{"talos": &c.Talos.Endpoint}
	keys := []string{}
	for i := range c.Listen {
		key := "listen[" + strconv.Itoa(i) + "]"
		ends[key], keys = &c.Listen[i].Endpoint, append(keys, key)
	}
	for _, key := range append(keys, "talos") {
		for i, p := range ends[key].Proxies {
			if p.IsValid() && p.Bits() == 0 {
				err := faultf(fmt.Sprintf("%s.trusted-proxies[%d]", key, i), "%s: anybody is believed about the address that he asks from, and networks, limits and the audit log go by it; name the addresses of your proxies", p)
				lines = append(lines, c.locate(err).Error())
			}
		}
	}
	return lines
}

// Warnings are those of Config.Warnings, of the configuration as it stands.
func (flags *Flags) Warnings() []string {
	c, err := flags.read()
	if err != nil {
		return nil // said by who needs it
	}
	return c.Warnings()
}
