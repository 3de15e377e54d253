package plan

import "strings"

// rootHint chooses the root among the volumes of the image.
func rootHint(p *Plan, a Arg) string {
	p.Root.Device = strings.TrimPrefix(a.Value, "block:") // dracut's long form of a device
	if a.Value == "" {
		p.Root.Device = "nothing"
	}
	return ""
}

func fstypeHint(p *Plan, a Arg) string {
	p.Root.FSType = a.Value
	if a.Value == "auto" { // mount(8): to be recognized
		p.Root.FSType = ""
	}
	return ""
}

func flagsHint(p *Plan, a Arg) string {
	p.Root.Flags = a.Value
	return ""
}

func modeHint(p *Plan, a Arg) string {
	p.Root.ReadWrite = a.Key == "rw"
	return ""
}

func initHint(p *Plan, a Arg) string {
	p.Root.Init = a.Value
	if a.Value == "" {
		return "names no program; the image's choice stays"
	}
	return ""
}
