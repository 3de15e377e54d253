package plan

import "fmt"

// checkResume judges where a hibernated system is taken up again: what
// selects inside the plan's volumes is good, as for the root.
func (p *Plan) checkResume() error {
	if p.Resume == "" {
		return nil
	}
	if err := p.checkDevice(p.Resume); err != nil {
		return fmt.Errorf("resume is %q: %w", p.Resume, err)
	}
	return nil
}

// Resumes are the devices from which a hibernated system is taken up again,
// in order: as the command line has it, and as the image alone has it.
func (p *Plan) Resumes() (devices []string) {
	if p.NoResume {
		return nil
	}
	for _, d := range []string{p.Resume, p.ImageResume} {
		if d != "" && (len(devices) == 0 || d != devices[0]) {
			devices = append(devices, d)
		}
	}
	return devices
}

// resumeHint reads resume=, noresume and hibernate= of
// Documentation/admin-guide/kernel-parameters.rst. A swap that is not
// encrypted is none of the opened volumes: nothing is taken up from it.
func resumeHint(p *Plan, a Arg) string {
	switch {
	case a.Is("noresume"):
		p.NoResume = true
	case a.Is("hibernate"):
		p.NoResume = p.NoResume || a.Value == "noresume" || a.Value == "no"
	case a.Value == "":
		return "names no device; nothing is taken up from it"
	default:
		p.Resume = a.Value
	}
	return ""
}
