package plan

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"latchkey/internal/order"
)

// Parse makes the Plan of a boot: the plan file of the image, refined by
// the kernel command line. Options that the plan does not allow, that are
// malformed or that are not there yet come back as Problems; the boot goes
// on without them. image is the command line that a unified kernel image
// was built with, "" in another image: see foreign.
func Parse(file []byte, cmdline, image string) (*Plan, []Problem, error) {
	p, err := Decode(file)
	if err != nil {
		return nil, nil, err
	}
	words, problems := p.foreign(cmdline, image)
	return p, append(problems, p.refine(words)...), nil
}

// ParseAgain is Parse for PID 1's children: PID 1 itself has Parse check
// the same bytes, says what the problems are, and ends the boot if there
// is anything wrong with the file.
func ParseAgain(file []byte, cmdline, image string) (*Plan, error) {
	p, _, err := decode(file)
	if err != nil {
		return nil, err
	}
	words, _ := p.foreign(cmdline, image)
	p.refine(words)
	return p, nil
}

// refine applies the command line, option by option. One that leaves a plan
// which Check refuses is undone and named, so nothing on the command line
// can make the boot fail that the image alone would have made.
func (p *Plan) refine(cmdline string) []Problem {
	p.ofImage()
	args, err := SplitCmdline(cmdline)
	if err != nil {
		return []Problem{{Reason: err.Error() + "; none of it is used"}}
	}

	problems := p.refineNet(args)
	for _, a := range inOrder(args) {
		apply := hintOf(canonical(a.Key))
		if apply == nil {
			continue
		}

		next := p.clone()
		reason := apply(next, a)
		if err := next.Check(); err != nil {
			problems = append(problems, Problem{a, "not used: " + why(err)})
			continue
		}
		*p = *next
		if reason != "" {
			problems = append(problems, Problem{a, reason})
		}
	}

	order.By(problems, func(a, b Problem) int { return cmp.Compare(a.Arg.Pos, b.Arg.Pos) })
	return problems
}

// ofImage notes what the image alone says, where the boot falls back to it.
func (p *Plan) ofImage() { p.ImageRoot, p.ImageUsr, p.ImageResume = p.Root, p.Usr, p.Resume }

// refineNet applies the network's options together: each is judged by
// ParseNet, and the links that they describe are one text.
func (p *Plan) refineNet(args []Arg) []Problem {
	net, problems := ParseNet(args)
	next := p.clone()
	next.Net = MergeNet(p.Net, net)
	if net.steers() {
		next.ImageNet = &p.clone().Net
	}
	problems = append(problems, next.withoutIPv6(args)...)
	if err := next.Check(); err != nil {
		return append(problems, Problem{firstOfNet(args), "not used, like all network options beside it: " + why(err)})
	}
	*p = *next
	return problems
}

// firstOfNet is the option that a problem with all of them points at.
func firstOfNet(args []Arg) Arg {
	for _, a := range args {
		if a.Is("ip") || a.Is("ip6") || a.Is("nfsaddrs") || a.Is("vlan") || a.Is("bond") || a.Is("bridge") {
			return a
		}
	}
	return Arg{}
}

// inOrder puts the options that name mappings before those that may use
// the names.
func inOrder(args []Arg) []Arg {
	sorted := slices.Clone(args)
	order.By(sorted, func(a, b Arg) int {
		rank := map[bool]int{true: 0, false: 1}
		return cmp.Compare(rank[isNaming(a)], rank[isNaming(b)])
	})
	return sorted
}

func isNaming(a Arg) bool { return a.Is("rd.luks.name") || a.Is("luks.name") }

// why is the error without the words that every broken plan has.
func why(err error) string { return strings.TrimPrefix(err.Error(), ErrInvalid.Error()+": ") }

// clone copies what a hint may change.
func (p *Plan) clone() *Plan {
	next := *p
	next.Find.URLs, next.Find.Services = slices.Clone(p.Find.URLs), slices.Clone(p.Find.Services)
	next.Modules.Always, next.Modules.Blocked = slices.Clone(p.Modules.Always), slices.Clone(p.Modules.Blocked)
	next.Logical = slices.Clone(p.Logical)
	next.Arrays.UUIDs = slices.Clone(p.Arrays.UUIDs)
	next.Volumes = slices.Clone(p.Volumes)
	for i := range next.Volumes {
		next.Volumes[i].Options = slices.Clone(p.Volumes[i].Options)
	}
	return &next
}

// errNotPrefix tells that an option names no volume of the plan.
var errNotInPlan = errors.New("no volume of the image's plan has this UUID; nothing is opened by it")

var errAmbiguous = errors.New("several volumes of the image's plan begin with this UUID: write more of it")

// volumes finds volumes by UUID or its beginning, written with or without
// "luks-": dracut.cmdline(7), rd.luks.uuid=.
func (p *Plan) volumes(uuid string) []*Volume {
	uuid = strings.ToLower(strings.TrimPrefix(uuid, "luks-"))
	var found []*Volume
	for i := range p.Volumes {
		if uuid != "" && strings.HasPrefix(p.Volumes[i].UUID, uuid) {
			found = append(found, &p.Volumes[i])
		}
	}
	return found
}

// volume is volumes for options that must mean exactly one.
func (p *Plan) volume(uuid string) (*Volume, error) {
	switch found := p.volumes(uuid); len(found) {
	case 0:
		return nil, errNotInPlan
	case 1:
		return found[0], nil
	}
	return nil, errAmbiguous
}
