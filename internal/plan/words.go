package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// String says the Plan in words, on one line, without secrets.
func (p *Plan) String() string {
	var b strings.Builder
	for i, v := range p.Volumes {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "open %s as %s by %s", v.UUID, v.Name, p.By(v))
	}

	mode := "ro"
	if p.Root.ReadWrite {
		mode = "rw"
	}
	fmt.Fprintf(&b, "; find %s", strings.Join(slices.Concat(p.Find.URLs, p.Find.Services), " "))
	fmt.Fprintf(&b, "; trust %d KMS key(s)", len(p.Trust.KMS))
	fmt.Fprintf(&b, "; root %s %s; network %s; on failure %s after %s", p.RootDevice(p.Root), mode, p.Net, p.OnFail.Action, p.OnFail.After)
	return b.String()
}

// By says in short what opens a volume: sources in their order, those that
// open it together with a plus.
func (p *Plan) By(v Volume) string {
	var all []string
	for _, name := range v.Sources {
		if r, ok := p.Recipe(name); ok {
			var ways []string
			for _, way := range r.Ways {
				ways = append(ways, strings.Join(way, "+"))
			}
			name = strings.Join(ways, " or ")
		}
		all = append(all, name)
	}
	return strings.Join(all, " then ")
}

// RootDevice is the device of a root, or the mapping of the first volume.
func (p *Plan) RootDevice(r Root) string {
	return cmp.Or(r.Device, "/dev/mapper/"+p.Volumes[0].Name)
}

// Roots are the roots to try, in order: as the command line has it, and as
// the image alone has it, if that differs.
func (p *Plan) Roots() []Root {
	if p.ImageRoot == p.Root {
		return []Root{p.Root}
	}
	return []Root{p.Root, p.ImageRoot}
}

// Spread tells whether every volume has nofail: the root is on one of them, or
// spread over several.
func (p *Plan) Spread() bool {
	return !slices.ContainsFunc(p.Volumes, func(v Volume) bool { return !v.NoFail })
}

// netTurn is the longest turn of one of two network settings: the longest
// that an address takes on a good LAN is about a minute (spanning tree,
// then DHCP).
const netTurn = 5 * time.Minute

// NetTurn is how long the command line's network settings and the image's
// have in turn while servers are asked in vain, 0 if they do not differ. A
// hint that is wrong for this LAN fails no boot; one that is right outlasts a
// server that is away.
func (p *Plan) NetTurn() time.Duration {
	if p.ImageNet == nil {
		return 0
	}
	turn := netTurn
	if p.NeedsKMS() && p.Find.Timeout > 0 {
		turn = min(turn, p.Find.Timeout)
	}
	if p.NeedsTang() && p.Clevis.Wait > 0 {
		turn = min(turn, p.Clevis.Wait)
	}
	if p.NeedsTalosKMS() && p.Talos.Wait > 0 {
		turn = min(turn, p.Talos.Wait)
	}
	if p.NeedsKairos() && p.Kairos.Wait > 0 {
		turn = min(turn, p.Kairos.Wait)
	}
	return turn
}

// AskTime is how long key servers are asked, 0 for ever. Two network
// settings have the image's time each.
func (p *Plan) AskTime() time.Duration {
	if p.ImageNet != nil {
		return 2 * p.Find.Timeout
	}
	return p.Find.Timeout
}

// TangTime is how long tang servers are asked, as AskTime is of key servers.
func (p *Plan) TangTime() time.Duration {
	if p.ImageNet != nil {
		return 2 * p.Clevis.Wait
	}
	return p.Clevis.Wait
}

// Inits are the programs to try as the real root's init, in order. The
// kernel's own list has /bin/sh, too (init/main.c): nobody is let in here
// by a root that is broken.
func (r Root) Inits() []string {
	if r.Init != "" {
		return []string{r.Init}
	}
	return []string{"/sbin/init", "/etc/init", "/bin/init"}
}
