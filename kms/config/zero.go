package config

import (
	"strconv"

	"latchkey/kms/server/policy"
)

// checkZeros refuses keys that were written down as what they are when they
// are left out, and cannot mean that.
func (c *Config) checkZeros() error {
	type zero struct {
		is  bool
		why string
	}
	all := map[string]zero{
		"admin.page.session": {c.Admin.Page.Session == 0, "0s: must be between a minute and " + maxSession.String()},
		"admin.page.oidc":    {c.Admin.Page.OIDC.Issuer == "", "it names no issuer, so nobody signs in by it: name the provider's URL, or leave the section out"},
	}
	for key, n := range map[string]policy.Duration{"audit.keep": c.Audit.Keep, "audit.checkpoint-every": c.Audit.CheckpointEvery, "backup.every": c.Backup.Every} {
		all[key] = zero{n == 0, "it is no time; leave it out for the default"}
	}
	all["backup.keep"] = zero{c.Backup.Keep == 0, "0 keeps none; leave it out for " + strconv.Itoa(defaultKeep)}
	ends := map[string]*Endpoint{"talos": &c.Talos.Endpoint}
	for i := range c.Listen {
		ends["listen["+strconv.Itoa(i)+"]"] = &c.Listen[i].Endpoint
	}
	for at, e := range ends {
		for key, n := range map[string]int{"per-address": e.Connections.PerAddress, "per-network": e.Connections.PerNetwork, "in-all": e.Connections.InAll} {
			all[at+".connections."+key] = zero{n == 0, "0 is not between 1 and 65536"}
		}
	}

	for key, z := range all {
		if _, said := c.where[key]; said && z.is {
			return faultf(key, "%s", z.why)
		}
	}
	return nil
}
