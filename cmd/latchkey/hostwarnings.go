package main

import (
	"fmt"

	"latchkey/internal/hosttab"
	"latchkey/internal/plan"
)

// hostWarnings is where a plan calls this machine's volumes otherwise than
// its /etc/crypttab and /etc/fstab.
func hostWarnings(p *plan.Plan) []string {
	var volumes []hosttab.Volume
	for _, v := range p.Volumes {
		volumes = append(volumes, hosttab.Volume{UUID: v.UUID, Name: v.Name})
	}
	list, err := hosttab.Host{Root: "/"}.Warnings(volumes)
	if err != nil {
		list = append(list, fmt.Sprintf("reading the host's tables: %v", err))
	}
	return list
}
