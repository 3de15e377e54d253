package plan

import (
	"time"
)

func describeWaits(p *Plan) []string {
	var s Section
	s.add("devices that hold the volumes are waited for%s", waitTime(p.Wait))
	switch p.Degraded {
	case NeverDegraded:
		s.add("an array that lacks members is not run")
	case 0:
		s.add("an array that lacks members runs without them at once, if a volume is missing")
	default:
		s.add("an array that lacks members runs without them after %s, if a volume is missing", p.Degraded)
	}
	if p.Arrays.Off || len(p.Arrays.UUIDs) > 0 {
		s.add("arrays that the command line does not want are assembled last, if a volume is still missing")
	}
	describePaths(&s, p)
	for _, f := range p.KeyFiles {
		if f.Device != "" {
			s.add("%s is looked for%s", f, soLong(p.KeyFileWait(f)))
		}
	}
	if p.NeedsTang() {
		s.add("tang servers are asked%s", soLong(p.TangTime()))
	}
	if p.NeedsTalosKMS() {
		s.add("a KMS of Talos is asked%s", soLong(p.TalosTime()))
	}
	if p.AsksForPIN() {
		s.add("a PIN is asked for three times, and waited for without limit")
	}
	if p.lists(SourcePrompt) {
		s.add("a passphrase is waited for without limit")
	}
	switch action := p.OnFail.Action; action {
	case "wait":
		s.add("after a failure the machine waits, with its volumes closed, until somebody switches it off")
	default:
		s.add("%s after a failure: %s", p.OnFail.After, action)
	}
	if p.Debug {
		s.add("debug: faults can be injected by the command line; do not ship this image")
	}
	return s.Lines
}

func describePaths(s *Section, p *Plan) {
	if p.NoPaths {
		s.add("a disk with several paths is used over one of them (rd.multipath=0)")
		return
	}
	for _, m := range p.Multipath {
		s.add("the disk %s becomes /dev/mapper/%s, over all its paths that are there", m.WWID, m.Name)
	}
}

func waitTime(d time.Duration) string {
	if d == 0 {
		return " without limit"
	}
	return soLong(d) + "; then the boot fails with volume-missing"
}

func soLong(d time.Duration) string {
	if d == 0 {
		return " without limit"
	}
	return ", at most " + d.String()
}
