package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A hint applies one option of the command line to a plan. It returns why
// the option, or a part of it, could not be used, or "".
type hint func(*Plan, Arg) string

// hintOf finds the hint for an option that is not about the network, by its
// name with "_" for "-". Options without one are the kernel's or the real
// root's.
func hintOf(name string) hint {
	switch name {
	case "rd.latchkey.kms", "kcrypt.challenger.challenger_server":
		return kmsHint
	case "kairos.config":
		return kairosHint
	case "rd.latchkey.service":
		return serviceHint
	case "kcrypt.challenger.mdns":
		return kcryptHint
	case "rd.latchkey.timeout":
		return findTimeoutHint
	case "rd.latchkey.report":
		return reportHint
	case "root":
		return rootHint
	case "rootfstype":
		return fstypeHint
	case "rootflags":
		return flagsHint
	case "ro", "rw":
		return modeHint
	case "init":
		return initHint
	case "resume", "noresume", "hibernate":
		return resumeHint
	case "mount.usr", "mount.usrfstype", "mount.usrflags":
		return usrHint
	case "rd.latchkey.overlay":
		return overlayHint
	case "rd.retry", "rd.timeout", "rootwait", "rootdelay":
		return retryHint
	case "rd.emergency":
		return emergencyHint
	case "rd.lvm", "rd.lvm.vg", "rd.lvm.lv":
		return logicalHint
	case "rd.md", "rd.md.uuid":
		return arrayHint
	case "rd.multipath":
		return multipathHint
	}

	switch {
	case name == "rd.luks" || strings.HasPrefix(name, "rd.luks.") || name == "luks" || strings.HasPrefix(name, "luks."):
		return luksHint
	case slices.Contains(loadOptions, name):
		return loadHint
	case slices.Contains(blockOptions, name):
		return blockHint
	}
	return unusedHint(name)
}

// switchedOff tells whether an option of the dracut family says no.
func switchedOff(a Arg) bool {
	on, err := parseBool(a)
	return err == nil && !on
}

// seconds reads a time as dracut writes it: whole seconds, perhaps with an
// "s".
func seconds(a Arg) (time.Duration, error) {
	n, err := strconv.ParseUint(strings.TrimSuffix(a.Value, "s"), 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number of seconds", a.Value)
	}
	return time.Duration(n) * time.Second, nil
}

// lengthen sets a limit that the command line may only relax: a boot that
// the image alone would have made does not fail for want of time. 0 is no
// limit.
func lengthen(to *time.Duration, a Arg, field string) string {
	d, err := seconds(a)
	if err != nil {
		return err.Error()
	}
	if *to == 0 && d != 0 || d != 0 && d < *to {
		return fmt.Sprintf("not used: the image waits %s (%s), and the command line can only make that longer", limit(*to), field)
	}
	*to = d
	return ""
}

func limit(d time.Duration) string {
	if d == 0 {
		return "for ever"
	}
	return d.String()
}

// retryHint is how long devices are waited for: rd.retry= and rd.timeout= of
// dracut.cmdline(7), rootwait and rootdelay= of the kernel's
// Documentation/admin-guide/kernel-parameters.rst. A delay that is shorter is
// in the wait already.
func retryHint(p *Plan, a Arg) string {
	if a.Is("rootwait") && !a.HasValue {
		p.Wait = 0
		return ""
	}
	if d, err := seconds(a); a.Is("rootdelay") && err == nil && (d <= p.Wait || p.Wait == 0) {
		return ""
	}
	return lengthen(&p.Wait, a, "wait")
}

func emergencyHint(p *Plan, a Arg) string {
	if !slices.Contains([]string{"reboot", "poweroff", "halt"}, a.Value) {
		return "want reboot, poweroff or halt"
	}
	p.OnFail.Action = a.Value
	return ""
}
