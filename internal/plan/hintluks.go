package plan

import (
	"slices"
	"strings"

	"latchkey/internal/mapping"
)

// luksHint reads the rd.luks family of dracut.cmdline(7) and
// systemd-cryptsetup-generator(8), with or without "rd.". None of it adds a
// volume or takes one away.
func luksHint(p *Plan, a Arg) string {
	switch name := strings.TrimPrefix(canonical(a.Key), "rd."); name {
	case "luks":
		if switchedOff(a) {
			return "the image requires its volumes; they are opened all the same"
		}
	case "luks.uuid":
		if len(p.volumes(strings.TrimPrefix(a.Value, "keysource:"))) == 0 {
			return errNotInPlan.Error()
		}
	case "luks.name":
		return p.rename(a.Value)

	case "luks.options", "luks.allow_discards":
		return p.luksOptions(name, a)
	case "luks.timeout":
		return "has no effect: a passphrase is waited for without limit (rd.retry= is the limit for devices)"
	case "luks.crypttab":
		// There is none in the image; both values are what we do.
	case "luks.key":
		return p.keyHint(a.Value)
	case "luks.key.tout":
		return notKey
	case "luks.data":
		return p.dataHint(a.Value)
	case "luks.header":
		return notHeader

	case "luks.try_empty_password":
		if !switchedOff(a) {
			return "an empty passphrase is never tried"
		}
	case "luks.partuuid", "luks.serial":
		return "volumes are named by rd.luks.uuid= and the image's plan only"
	default:
		return "not an option of the rd.luks family that is known here"
	}
	return ""
}

// rename gives a mapping another name, and has what meant the old one mean
// the new one.
func (p *Plan) rename(value string) string {
	uuid, name, ok := strings.Cut(value, "=")
	if !ok {
		return "want <uuid>=<name>"
	}
	v, err := p.volume(uuid)
	if err != nil {
		return err.Error()
	}
	if err := mapping.CheckName(name); err != nil {
		return err.Error()
	}

	for _, device := range []*string{&p.Root.Device, &p.Root.Overlay, &p.ImageRoot.Device, &p.ImageRoot.Overlay, &p.Usr.Device, &p.ImageUsr.Device, &p.Resume, &p.ImageResume} {
		if *device == "/dev/mapper/"+v.Name {
			*device = "/dev/mapper/" + name
		}
	}
	v.Name = name
	return ""
}

// luksOptions reads [<uuid>=]opt,opt… or, for allow-discards, [<uuid>].
func (p *Plan) luksOptions(name string, a Arg) string {
	options, uuid := []string{"discard"}, a.Value
	if name == "luks.options" {
		text := a.Value
		uuid = ""
		if before, after, ok := strings.Cut(text, "="); ok && !isCryptOption(before) {
			uuid, text = before, after
		}
		options = strings.Split(text, ",")
	}

	volumes := p.volumes(uuid)
	if uuid == "" {
		for i := range p.Volumes {
			volumes = append(volumes, &p.Volumes[i])
		}
	}
	if len(volumes) == 0 {
		return errNotInPlan.Error()
	}

	var unknown, kept []string
	for _, o := range options {
		word, satisfied := cryptOption(o)
		if word == "read-only" {
			// A root whose journal must be replayed, or that is mounted rw,
			// does not mount then: only the image may want that.
			kept = readOnly(volumes)
			continue
		}
		if file, ok := strings.CutPrefix(o, "header="); ok {
			if !hasHeader(volumes, file) {
				return notHeader
			}
			continue
		}
		switch {
		case satisfied:
			continue
		case word == "":
			unknown = append(unknown, o)
			continue
		}
		addOption(volumes, word)
	}

	if len(unknown) > 0 {
		return "no effect here: " + strings.Join(unknown, ", ")
	}
	if len(kept) > 0 {
		return "read-only is the image's to say for a volume that the boot needs; not used for " + strings.Join(kept, ", ")
	}
	return ""
}

// readOnly sets the option where the boot goes on without the volume, and
// names the others.
func readOnly(volumes []*Volume) (kept []string) {
	for _, v := range volumes {
		switch {
		case v.NoFail:
			addOption([]*Volume{v}, "read-only")
		case !slices.Contains(v.Options, "read-only"):
			kept = append(kept, v.Name)
		}
	}
	return kept
}

func addOption(volumes []*Volume, word string) {
	for _, v := range volumes {
		if !slices.Contains(v.Options, word) {
			v.Options = append(v.Options, word)
		}
	}
}

// isCryptOption tells a word of crypttab(5) with a value from a UUID.
func isCryptOption(word string) bool {
	return strings.Trim(strings.ToLower(strings.TrimPrefix(word, "luks-")), "0123456789abcdef-") != ""
}

// cryptOption is the plan's word for one of crypttab(5), "" if there is
// none. Some say what is done anyway.
func cryptOption(o string) (word string, satisfied bool) {
	switch o {
	case "", "luks", "defaults", "x-initrd.attach", "initramfs", "headless", "headless=true", "_netdev", "tries=0", "timeout=0", "loud":
		return "", true
	case "readonly":
		return "read-only", false
	case "allow-discards":
		return "discard", false
	}
	if slices.Contains(volumeOptions, o) {
		return o, false
	}
	return "", false
}
