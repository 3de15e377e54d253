package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Parse makes the Plan of a boot: the plan file of the image, refined by
// the kernel command line. Options that the plan does not allow, that are
// malformed or that are not there yet come back as Problems; the boot
// goes on without them.
func Parse(file []byte, cmdline string) (*Plan, []Problem, error) {
	p, err := Decode(file)
	if err != nil {
		return nil, nil, err
	}
	return p, p.refine(cmdline), nil
}

// ParseAgain is Parse for PID 1's children: PID 1 itself has Parse check
// the same bytes, says what the problems are, and ends the boot if there
// is anything wrong with the file.
func ParseAgain(file []byte, cmdline string) (*Plan, error) {
	p, err := decode(file)
	if err != nil {
		return nil, err
	}
	p.refine(cmdline)
	return p, nil
}

// refine applies the command line.
func (p *Plan) refine(cmdline string) []Problem {
	args, err := SplitCmdline(cmdline)
	if err != nil {
		return []Problem{{Reason: err.Error() + "; it is not used"}}
	}
	net, problems := ParseNet(args)
	p.Net = MergeNet(p.Net, net)
	for _, a := range args {
		if reason := p.hint(a); reason != "" {
			problems = append(problems, Problem{a, reason})
		}
	}
	return problems
}

// hint applies one option that is not about the network. It returns why
// the option could not be used, or "".
func (p *Plan) hint(a Arg) string {
	name := strings.ReplaceAll(a.Key, "-", "_")
	switch {
	case strings.HasPrefix(name, "rd.luks"):
		return p.luksHint(name, a)
	case strings.HasPrefix(name, "rd.latchkey."), strings.HasPrefix(name, "kcrypt."), name == "kairos.config":
		return p.latchkeyHint(name, a)
	case strings.HasPrefix(name, "root"), name == "ro", name == "rw", name == "init":
		return p.rootHint(name, a)
	}

	switch name {
	case "rd.retry":
		return setSeconds(&p.Wait, a)
	case "rd.shell":
		if a.HasValue && a.Value == "0" {
			return ""
		}
		return "there is no shell in this image; nothing is opened by it"

	case "rd.break":
		return "break points exist in debug images only"
	case "rd.emergency":
		return p.emergencyHint(a.Value)
	case "rd.modules_load", "modules_load":
		p.Modules.Always = append(p.Modules.Always, strings.Split(a.Value, ",")...)

	case "rd.driver.blacklist", "module_blacklist", "modprobe.blacklist":
		p.Modules.Blocked = append(p.Modules.Blocked, strings.Split(a.Value, ",")...)
	case "resume":
		return "resuming from swap is not there yet; the machine starts afresh and a hibernated image in swap is lost when swap is used again"
	case "cryptopts":
		return "use the plan's volumes and rd.luks.options= instead"

	case "rd.timeout":
		return "use rd.retry= (devices) and rd.latchkey.timeout= (key server)"
	}

	return ""
}

func (p *Plan) emergencyHint(action string) string {
	if !slices.Contains([]string{"reboot", "poweroff", "halt"}, action) {
		return "want reboot, poweroff or halt"
	}
	p.OnFail.Action = action
	return ""
}

func (p *Plan) latchkeyHint(name string, a Arg) string {
	switch name {
	case "rd.latchkey.kms", "kcrypt.challenger.challenger_server":
		return p.kmsHint(a)
	case "rd.latchkey.service":
		if !isService(a.Value) {
			return "want a DNS-SD service type such as _latchkey._tcp"
		}
		p.Find.Services = append(p.Find.Services, a.Value)

	case "kcrypt.challenger.mdns":
		if a.Value == "true" && !slices.Contains(p.Find.Services, "_kcrypt._tcp") {
			p.Find.Services = append(p.Find.Services, "_kcrypt._tcp")
		}
	case "rd.latchkey.timeout":
		return setSeconds(&p.Find.Timeout, a)

	case "rd.latchkey.report":
		p.Find.NoReport = a.Value == "0"
	case "rd.latchkey.keepnet", "rd.latchkey.fault":

		// Read by boot and netup themselves.
	case "kairos.config":
		if key, value, ok := strings.Cut(a.Value, "="); ok && key == "kcrypt.challenger.challenger_server" {
			return p.kmsHint(Arg{Key: a.Key, Value: value, HasValue: true, Pos: a.Pos})
		}
	default:
		return "not an option that the command line may set: trust and volumes come from the image's plan only"
	}
	return ""
}

func (p *Plan) kmsHint(a Arg) string {
	url := a.Value
	if url != "" && !strings.Contains(url, "://") {
		url = "http://" + url
	}
	if !strings.HasPrefix(url, "http://") || len(url) > 512 || len(url) == len("http://") {
		return "want http://host[:port] or a host name (lk1 needs no TLS: the key in the plan is what is trusted)"
	}
	p.Find.URLs = append([]string{url}, p.Find.URLs...)
	return ""
}

func (p *Plan) luksHint(name string, a Arg) string {
	switch name {
	case "rd.luks":
		if a.Value == "0" || a.Value == "no" {
			return "the plan requires its volumes; they are opened all the same"
		}
	case "rd.luks.uuid":
		if p.volume(a.Value) == nil {
			return "this volume is not in the image's plan; nothing is opened by it"
		}

	case "rd.luks.name":
		uuid, newName, ok := strings.Cut(a.Value, "=")
		v := p.volume(uuid)
		if !ok || v == nil || !isName(newName) {
			return "want <uuid>=<name> with a uuid of the image's plan"
		}
		v.Name = newName

	case "rd.luks.options", "rd.luks.allow_discards":
		return p.luksOptions(name, a)
	case "rd.luks.timeout":
		return setSeconds(&p.Wait, a)
	case "rd.luks.crypttab":

		// There is none in the image; both values are what we do.
	case "rd.luks.key", "rd.luks.data", "rd.luks.header":
		return "key files and detached headers are not there yet"
	default:
		return "not an option of the rd.luks family that is known here"
	}
	return ""
}

func (p *Plan) luksOptions(name string, a Arg) string {
	options, uuid := []string{"discard"}, a.Value
	if name == "rd.luks.options" {
		text := a.Value
		uuid = ""
		if before, after, ok := strings.Cut(text, "="); ok && p.volume(before) != nil {
			uuid, text = before, after
		}
		options = strings.Split(text, ",")
	}

	var unknown []string
	for _, o := range options {
		if !slices.Contains(volumeOptions, o) {
			unknown = append(unknown, o)
			continue
		}
		for i := range p.Volumes {
			if uuid == "" || p.volume(uuid) == &p.Volumes[i] {
				p.Volumes[i].Options = append(p.Volumes[i].Options, o)
			}
		}
	}

	if len(unknown) > 0 {
		return "not known here: " + strings.Join(unknown, ", ")
	}
	return ""
}

// volume finds a volume by UUID, written with or without "luks-".
func (p *Plan) volume(uuid string) *Volume {
	uuid = strings.ToLower(strings.TrimPrefix(uuid, "luks-"))
	for i := range p.Volumes {
		if p.Volumes[i].UUID == uuid {
			return &p.Volumes[i]
		}
	}
	return nil
}

func (p *Plan) rootHint(name string, a Arg) string {
	switch name {
	case "root":
		if a.Value == "" || len(a.Value) > 256 {
			return "want a device, UUID=, LABEL=, PARTUUID=, PARTLABEL= or /dev/mapper/NAME"
		}
		p.Root.Device = a.Value

	case "rootfstype":
		if !slices.Contains(fileSystems, a.Value) {
			return "want one of " + strings.Join(fileSystems, ", ")
		}
		p.Root.FSType = a.Value

	case "rootflags":
		p.Root.Flags = a.Value
	case "ro":
		p.Root.ReadWrite = false
	case "rw":
		p.Root.ReadWrite = true

	case "init":
		if !strings.HasPrefix(a.Value, "/") {
			return "want an absolute path"
		}
		p.Root.Init = a.Value

	case "rootdelay", "rootwait":
		// Devices are always waited for.
	}
	return ""
}

func setSeconds(to *time.Duration, a Arg) string {
	text := strings.TrimSuffix(a.Value, "s")
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return "want a whole number of seconds"
	}
	*to = time.Duration(n) * time.Second
	return ""
}

func isService(s string) bool {
	name, proto, ok := strings.Cut(s, ".")
	return ok && proto == "_tcp" && len(name) > 1 && len(name) <= 16 && name[0] == '_'
}

// String says the Plan in words, on one line, without secrets.
func (p *Plan) String() string {
	var b strings.Builder
	for i, v := range p.Volumes {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "open %s as %s by %s", v.UUID, v.Name, strings.Join(v.Sources, " then "))
	}

	fmt.Fprintf(&b, "; find %s", strings.Join(slices.Concat(p.Find.URLs, p.Find.Services), " "))
	fmt.Fprintf(&b, "; trust %d KMS key(s)", len(p.Trust.KMS))
	root, mode := p.Root.Device, "ro"
	if root == "" {
		root = "/dev/mapper/" + p.Volumes[0].Name
	}

	if p.Root.ReadWrite {
		mode = "rw"
	}
	fmt.Fprintf(&b, "; root %s %s; network %s; on failure %s after %s", root, mode, p.Net, p.OnFail.Action, p.OnFail.After)
	return b.String()
}
