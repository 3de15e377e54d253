package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"latchkey/kms/server/policy"
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
	for _, err := range c.Hooks.nameless(&c.Policy) {
		lines = append(lines, c.locate(err).Error())
	}
	for _, err := range c.Backup.warnings(cmp.Or(c.Data, DefaultData)) {
		lines = append(lines, c.locate(err).Error())
	}
	return lines
}

// nameless are the hooks whose links are nobody's word, where the policy wants
// the words of several people for machines of theirs.
func (h Hooks) nameless(p *Policy) (all []error) {
	if p.Rules == nil {
		return nil
	}
	for i, one := range h {
		if one.Approve != ByWords || one.Person != "" {
			continue
		}
		where := ""
		if p.Rules.Defaults.People() > 1 {
			where = "policy.defaults"
		}
		for _, group := range p.Rules.Groups {
			if where == "" && group.Settings.People() > 1 && one.mayBeIn(group) {
				where = "the group " + group.Label + "=" + group.Value
			}
		}
		if where != "" {
			all = append(all, faultf("hooks["+strconv.Itoa(i)+"].approve", "links of a hook without person approve no machine for which %s wants several people: say whose word they are (person)", where))
		}
	}
	return all
}

// mayBeIn tells whether a machine that the hook tells of can be in a group.
func (h *Hook) mayBeIn(group policy.Group) bool {
	if group.Label == "protocol" {
		return group.Value == string(policy.LK1)
	}
	return len(h.Labels) == 0 || slices.ContainsFunc(h.Labels, func(label string) bool {
		key, value, _ := strings.Cut(label, "=")
		return key != group.Label || value == group.Value
	})
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
