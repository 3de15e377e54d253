package latch

import (
	"context"
	"os"
	"strings"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
	"latchkey/unlock/tpm"
)

// A TPM may take so long to appear: its driver may be a module, and hubs and
// firmware TPMs are slow. Where the firmware says that there is none, a
// machine that needs none is not held up.
const (
	tpmWait  = 30 * time.Second
	noneWait = 2 * time.Second
)

// Kernel is the real System.
type Kernel struct{}

// Plan implements System. The plan is read only if a fault is asked for:
// the latch needs nothing else of it, and is in a hurry.
func (Kernel) Plan() (*plan.Plan, string, error) {
	cmdline, err := os.ReadFile(wire.CmdlineAt)
	if err != nil || !strings.Contains(string(cmdline), "rd.latchkey.fault") {
		return &plan.Plan{}, "", err
	}
	return wire.ReadPlan()
}

// OpenTPM implements System.
func (Kernel) OpenTPM(ctx context.Context) (TPM, error) {
	wait, why := tpmWait, ""
	if !device.MayHaveTPM("/sys") {
		wait, why = noneWait, ", and the firmware names no TPM"
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	events, err := device.Events(ctx) // before the first look: nothing is missed
	if err != nil {
		return nil, err
	}

	for {
		if _, err := os.Stat(tpm.DefaultPath); err == nil {
			t, err := tpm.Open(tpm.DefaultPath)
			if err != nil {
				return nil, err
			}
			return t, nil
		}
		select {
		case <-events:
		case <-ctx.Done():
			return nil, codes.Fail(codes.TPMMissing, "no %s after %s%s", tpm.DefaultPath, wait, why)
		}
	}
}
