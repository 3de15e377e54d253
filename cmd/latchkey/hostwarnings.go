package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"latchkey/internal/hosttab"
	"latchkey/internal/mapping"
	"latchkey/internal/plan"
	"latchkey/internal/rootdir"
)

// warnPlan says what a plan that is built into an image will not do. It
// fails for a plan that cannot boot this machine.
func warnPlan(w io.Writer, root string, p *plan.Plan) error {
	host := hosttab.Host{Root: root}
	prompts := func(v plan.Volume) bool { return slices.Contains(v.Sources, plan.SourcePrompt) }
	if !slices.ContainsFunc(p.Volumes, prompts) {
		fmt.Fprintln(w, "warning: no volume lists the source prompt: with this image no recovery key can be typed at the console (sources: [kms, prompt])")
	}
	for _, text := range hostWarnings(root, p) {
		fmt.Fprintln(w, "warning:", text)
	}
	if err := judgeCrypttab(w, host, p); err != nil {
		return err
	}
	r, err := host.LogicalRoot()
	if err != nil {
		fmt.Fprintln(w, "warning: looking for this machine's root:", err)
	}
	list, err := logicalWarnings(p, r)
	for _, text := range list {
		fmt.Fprintln(w, "warning:", text)
	}
	return err
}

// logicalWarnings is what a plan for this machine lacks if its root is a
// logical volume, with the line to write. It fails if the root is one of a
// kind that the boot does not map.
func logicalWarnings(p *plan.Plan, r *hosttab.LogicalRoot) (list []string, err error) {
	planned := func(uuid string) bool {
		return slices.ContainsFunc(p.Volumes, func(v plan.Volume) bool { return v.UUID == uuid })
	}
	if r == nil || !slices.ContainsFunc(r.Volumes, planned) {
		return nil, nil // the plan is another machine's
	}

	group, name, logical := p.LogicalRoot(p.Root)
	byContent := strings.Contains(p.Root.Device, "=") || strings.HasPrefix(p.Root.Device, "/dev/disk/")
	switch {
	case logical && (group != r.Group || name != r.Name):
		return []string{fmt.Sprintf("the plan's root is the logical volume %s/%s, this machine's is %s", group, name, r)}, nil
	case r.Stacked:
		return nil, fmt.Errorf("this machine's root %s lies on other logical volumes (thin, cache, a snapshot or the like): only linear, striped and raid1 ones are supported yet", r)
	case !logical && !byContent:
		list = append(list, fmt.Sprintf("this machine's root is the logical volume %s: write root: {device: /dev/mapper/%s} in latchkey.yaml", r, mapping.LogicalName(r.Group, r.Name)))
	}
	if r.RAID {
		list = append(list, fmt.Sprintf("this machine's root %s is a RAID of LVM: the boot maps raid1 and no other level (lvs -o segtype %s)", r, r))
	}
	for _, uuid := range r.Volumes {
		if !planned(uuid) {
			list = append(list, fmt.Sprintf("this machine's root %s lies on LUKS volume %s, too, which the plan does not open: add it to volumes in latchkey.yaml", r, uuid))
		}
	}
	return list, nil
}

// hostWarnings is where a plan calls the volumes of the system below a root
// directory otherwise than its /etc/crypttab and /etc/fstab, and what clevis
// will not open.
func hostWarnings(root string, p *plan.Plan) []string {
	volumes := hostVolumes(p)
	list, err := hosttab.Host{Root: root}.Warnings(volumes, hostMounts(p))
	if err != nil {
		list = append(list, fmt.Sprintf("reading the host's tables: %v", err))
	}
	list = append(list, cipherWarnings(rootdir.Path(root, byUUID), p)...)
	list = append(list, coldStartWarnings(root, p)...)
	return append(list, tokenWarnings(rootdir.Path(root, byUUID), p)...)
}

// hostVolumes are the plan's volumes as the host's tables are asked for them.
func hostVolumes(p *plan.Plan) (volumes []hosttab.Volume) {
	for _, v := range p.Volumes {
		var sources []string
		for _, name := range v.Sources {
			sources = append(sources, p.Members(name)...)
		}
		volumes = append(volumes, hosttab.Volume{UUID: v.UUID, Name: v.Name, Options: v.Options, Sources: sources, Header: v.Header != nil, NoFail: v.NoFail})
	}
	return volumes
}

// hostMounts is what the plan mounts, a logical volume by its mapping.
func hostMounts(p *plan.Plan) hosttab.Mounts {
	m := hosttab.Mounts{Root: p.Root.Device, Usr: len(p.Usrs()) > 0}
	if group, name, ok := p.LogicalRoot(p.Root); ok {
		m.Root = "/dev/mapper/" + mapping.LogicalName(group, name)
	}
	return m
}

// judgeCrypttab says what the host's crypttab has for the plan's volumes. It
// fails where the boot would not protect what that protects.
func judgeCrypttab(w io.Writer, h hosttab.Host, p *plan.Plan) error {
	v, err := h.Judge(hostVolumes(p))
	if err != nil {
		fmt.Fprintln(w, "warning: reading /etc/crypttab:", err)
	}
	for _, text := range v.Notes {
		fmt.Fprintln(w, "warning:", text)
	}
	if len(v.Wrong) > 0 {
		return errors.New(strings.Join(v.Wrong, "; "))
	}
	return nil
}
