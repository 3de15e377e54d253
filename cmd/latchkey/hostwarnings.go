package main

import (
	"fmt"
	"io"
	"slices"

	"latchkey/internal/hosttab"
	"latchkey/internal/plan"
)

// warnPlan says what a plan that is built into an image will not do.
func warnPlan(w io.Writer, p *plan.Plan) {
	prompts := func(v plan.Volume) bool { return slices.Contains(v.Sources, plan.SourcePrompt) }
	if !slices.ContainsFunc(p.Volumes, prompts) {
		fmt.Fprintln(w, "warning: no volume lists the source prompt: with this image no recovery key can be typed at the console (sources: [kms, prompt])")
	}
	for _, text := range hostWarnings(p) {
		fmt.Fprintln(w, "warning:", text)
	}
}

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
