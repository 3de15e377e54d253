package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/plan"
)

// modules tells whether an image has the drivers that this machine's disks
// and links have now.
func (c *checker) modules(p checkedPlan) {
	if p.modules == nil {
		return
	}
	wanted := map[string][]string{} // by what they are for
	for _, v := range p.Volumes {
		wanted["volume "+v.Name] = c.host.DriversOf(v.UUID)
	}
	if c.cannotSee("modules", p.version, "/sys/class/block") {
		return
	}
	links := c.host.Links()
	if p.NeedsNetwork() {
		for _, l := range links {
			wanted["link "+l.Name] = l.Drivers
		}
	}
	if kind := c.rootType(p); kind != "" {
		wanted["root"] = append(wanted["root"], kind)
	}

	builtin := c.builtin(p.version)
	remedy := "modules.add in latchkey.yaml, then: " + updateLine(p.version)
	lacking := 0
	for _, what := range slices.Sorted(maps.Keys(wanted)) {
		var missing []string
		for _, name := range wanted[what] {
			if p.modules.Find(name) < 0 && !builtin[plan.ModuleName(name)] {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 {
			continue
		}
		lacking++
		say := c.fail
		if strings.HasPrefix(what, "link ") && len(links) > 1 {
			say = c.warn // another link may do
		}
		say("modules", p.version, remedy, "%s needs %s, which the image lacks", what, strings.Join(missing, ", "))
	}
	if lacking == 0 {
		c.ok("modules", p.version, "it has the drivers of %d volumes and %d links", len(p.Volumes), len(links))
	}
}

// rootType is the module of the root's file system, "" if none is known to be
// one.
func (c *checker) rootType(p checkedPlan) string {
	if p.Root.FSType != "" {
		return p.Root.FSType
	}
	r, err := c.host.RunningRoot()
	if err != nil || r.Source == "" || !strings.HasPrefix(r.Source, "/dev/") {
		return ""
	}
	return r.Type
}

// builtin are the modules that a kernel has in itself.
func (c *checker) builtin(version string) map[string]bool {
	text, _ := os.ReadFile(c.update.path("/lib/modules/" + version + "/modules.builtin"))
	all := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		all[plan.ModuleName(strings.TrimSpace(line))] = true
	}
	return all
}

const rootRemedy = "compare root.device in latchkey.yaml with: findmnt /"

// root compares what the boot mounts on "/" with what is there now.
func (c *checker) root(p checkedPlan) {
	device := p.RootDevice(p.Root)
	if c.cannotSee("root", "", "/proc/self/mountinfo") {
		return
	}
	logical, err := c.host.LogicalRoot()
	if err != nil {
		c.warn("root", "", rootRemedy, "looking for this machine's root: %v", err)
		return
	}
	if logical != nil {
		warnings, err := logicalWarnings(p.Plan, logical)
		for _, text := range warnings {
			c.warn("root", "", rootRemedy, "%s", text)
		}
		if err != nil {
			c.fail("root", "", "keep the distribution's initramfs for this root (docs/install.md, \"LVM\")", "%v", err)
		}
		if err == nil && len(warnings) == 0 {
			c.ok("root", "", "%s, the logical volume that this machine runs from", device)
		}
		return
	}

	now, err := c.host.RunningRoot()
	if err != nil {
		c.warn("root", "", rootRemedy, "looking for this machine's root: %v", err)
		return
	}
	mapped, isMapping := strings.CutPrefix(device, "/dev/mapper/")
	for _, v := range p.Volumes {
		if isMapping && mapped == v.Name && now.Volume == v.UUID {
			c.ok("root", "", "%s, the volume %s that this machine runs from", device, v.UUID)
			return
		}
	}
	switch there, err := c.deviceOf(device); {
	case err == nil && now.Source != "" && c.sameDevice(there, now.Source):
		c.ok("root", "", "%s is what this machine runs from", device)
	case err == nil:
		c.warn("root", "", rootRemedy, "%s is there, and this machine runs from %s", device, now.Source)
	case isMapping && slices.ContainsFunc(p.Volumes, func(v plan.Volume) bool { return v.Name == mapped && c.host.HasVolume(v.UUID) }):
		c.warn("root", "", rootRemedy, "%s is closed now: this machine runs from %s", device, now.Source)
	default:
		c.fail("root", "", rootRemedy, "%s is not on this machine", device)
	}
}

// deviceOf follows a root's name to its device.
func (c *checker) deviceOf(name string) (string, error) {
	if tag, value, tagged := strings.Cut(name, "="); tagged {
		name = "/dev/disk/by-" + strings.ToLower(tag) + "/" + value
	}
	return filepath.EvalSymlinks(c.update.path(name))
}

func (c *checker) sameDevice(device, source string) bool {
	other, err := c.deviceOf(source)
	return err == nil && device == other
}

// network looks for the links that the plan names.
func (c *checker) network(p checkedPlan) {
	if !p.NeedsNetwork() || c.cannotSee("network", "", "/sys/class/net") {
		return
	}
	links := c.host.Links()
	if len(links) == 0 {
		c.fail("network", "", "ip link", "the plan asks a server, and this machine has no network link")
		return
	}
	carrier, here := "", map[string]bool{}
	for _, l := range links {
		here[l.Name] = true
		for _, n := range p.Net.Names {
			here[n.Name] = here[n.Name] || strings.EqualFold(string(n.MAC), l.MAC)
		}
		if l.Carrier && carrier == "" {
			carrier = l.Name
		}
	}
	var missing []string
	for _, name := range p.Net.Links() {
		if !here[name] && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) > 0:
		c.fail("network", "", "correct net in latchkey.yaml, or ip= on the command line (ip link)", "this machine has no link %s", strings.Join(missing, ", "))
	case carrier == "":
		c.warn("network", "", "look at the cables (ip link)", "no link has a carrier")
	default:
		c.ok("network", "", "%s has a carrier", carrier)
	}
}
