package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"latchkey/internal/plan"
	"latchkey/internal/rootdir"
)

// keyServerSigns are files that a machine has on which a key server is
// installed: its database's folder and its unit.
var keyServerSigns = []string{"var/lib/latchkey-kms", "etc/systemd/system/latchkey-kms.service", "usr/lib/systemd/system/latchkey-kms.service", "lib/systemd/system/latchkey-kms.service"}

// coldStartWarnings names the volumes of a machine with a key server that
// nothing on the machine itself opens. After a power cut of the site such a
// machine waits for another key server, which may wait for this one.
func coldStartWarnings(root string, p *plan.Plan) (list []string) {
	sign := ""
	for _, s := range keyServerSigns {
		if _, err := os.Stat(rootdir.Path(root, s)); err == nil {
			sign = "/" + s
			break
		}
	}
	if sign == "" {
		return nil
	}
	for _, v := range p.Volumes {
		if alone(p, v) {
			continue
		}
		list = append(list, fmt.Sprintf("this machine has a key server (%s), and volume %s opens by %s only: when all machines of the site start at once, it waits for another one, which may wait for this one; list a source that needs no network and no person before them: systemd-tpm2, key-file (docs/volumes.md, \"The cold start of a site\")",
			sign, v.Name, strings.ReplaceAll(p.By(v), " then ", ", ")))
	}
	return list
}

// alone tells whether a volume opens without a network and without a person.
func alone(p *plan.Plan, v plan.Volume) bool {
	for _, s := range v.Sources {
		r, _ := p.Recipe(s)
		if slices.ContainsFunc(r.Ways, func(way []string) bool { return !slices.Contains(way, plan.SourceKMS) }) {
			return true
		}
		_, file := p.KeyFile(s)
		if s == plan.SourceSystemd || file || s == plan.SourceClevis && len(p.Clevis.Sealed) > 0 {
			return true
		}
	}
	return false
}
