package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
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
	if t := &c.Talos; t.Address != "" && t.TLS == nil && len(t.Proxies) == 0 && !onlyHere(t.Address) {
		err := faultf("talos.address", "%s is in the clear: whoever hears it reads the keys that Talos asks to seal and unseal; set talos.tls, and https:// in the machines' configuration", t.Address)
		lines = append(lines, c.locate(err).Error())
	}
	for _, err := range c.Backup.warnings(cmp.Or(c.Data, DefaultData)) {
		lines = append(lines, c.locate(err).Error())
	}
	return lines
}

// onlyHere tells whether host:port is an address of this machine alone.
func onlyHere(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Warnings are those of Config.Warnings, of the configuration as it stands.
func (flags *Flags) Warnings() []string {
	c, err := flags.read()
	if err != nil {
		return nil // said by who needs it
	}
	return c.Warnings()
}
