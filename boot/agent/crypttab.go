package agent

import (
	"strings"

	"latchkey/boot/codes"
	"latchkey/internal/hosttab"
	"latchkey/internal/plan"
)

// CheckCrypttab refuses an early boot in which systemd-cryptsetup measures
// volumes into PCR 15: what it opens first would take the plan's volumes their
// keys, since a key server gives none to a boot whose PCR 15 is used. The agent
// measures the volumes of the plan in the same way.
func CheckCrypttab(h hosttab.Host, cmdline string) error {
	names, err := h.Measured()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return codes.Fail(codes.PlanInvalid, "/etc/crypttab: tpm2-measure-pcr= of %q closes the TPM before the agent has asked for keys: remove it; the agent measures the plan's volumes", names[0])
	}
	args, err := plan.SplitCmdline(cmdline)
	if err != nil {
		return nil //nolint:nilerr // nobody else reads one that is broken, either
	}
	for _, a := range args {
		if !a.Is("rd.luks.options") && !a.Is("luks.options") {
			continue
		}
		_, of, found := strings.Cut(a.Value, "=")
		for option := range strings.SplitSeq(a.Value+","+of, ",") {
			if found && hosttab.MeasuresPCR(option) {
				return codes.Fail(codes.PlanInvalid, "%s: tpm2-measure-pcr= closes the TPM before the agent has asked for keys: remove it", a)
			}
		}
	}
	return nil
}
