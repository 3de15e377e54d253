package agent

import (
	"context"
	"fmt"
	"slices"

	"latchkey/boot/codes"
	"latchkey/boot/latch"
	"latchkey/internal/pcr"
	"latchkey/internal/plan"
)

// capped is what PCR 15 gets in a boot that fetched nothing: no later program
// of this boot is given a key in its name.
const capped = "latchkey-rescue"

// enter measures that the initrd's phase begins, before the TPM is first
// used, unless somebody else does. After a kexec, and where a volume that is
// not ours was measured before (tpm2-measure-pcr= of crypttab(5)), the TPM is
// not used; nor if it is not there.
func (a *Agent) enter(ctx context.Context) error {
	err := a.tryEnter(ctx)
	if err != nil && codes.Means(codes.Of(err)).Class != codes.Final && !a.plan.SparesTPM() {
		err = a.again(ctx, func() error { return a.tryEnter(ctx) })
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	return a.without(err)
}

func (a *Agent) tryEnter(ctx context.Context) error {
	if a.tpm == nil {
		t, err := a.sys.Chip().OpenTPM(ctx)
		if err != nil {
			return err
		}
		a.tpm, a.phased = t, a.sys.Phased()
	}
	if err := latch.Unused(ctx, a.tpm); err != nil || a.phased {
		return err
	}
	return extend(ctx, a.tpm, 11, pcr.EnterInitrd)
}

// without goes on without the TPM for the volumes that something else can
// open. Who asks for another one is told at once, for a person is to type.
// Where there is none but others, err is the end.
func (a *Agent) without(err error) error {
	p := *a.plan
	p.Volumes = slices.DeleteFunc(slices.Clone(p.Volumes), func(v plan.Volume) bool { return !p.Spares(v) })
	if len(p.Volumes) == 0 {
		return err
	}
	for _, v := range a.plan.Volumes {
		if !p.Spares(v) {
			a.keys.refuse(v.Name, err)
		}
	}
	a.refused = len(p.Volumes) < len(a.plan.Volumes)
	a.plan, a.noTPM = &p, err
	a.say(fmt.Errorf("the TPM is not used in this boot: %w", err))
	return nil
}

// close closes the TPM behind what was fetched: PCR 15 gets the volumes, in
// systemd's format, as when our own init opens them. If that fails, keys that
// the TPM has helped to fetch are not given: what the disk runs could fetch
// them again.
func (a *Agent) close(ctx context.Context) error {
	if a.tpm == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	defer func() { a.tpm.Close(); a.tpm = nil }()
	var volumes []pcr.Digests
	proved := false
	for _, v := range a.plan.Volumes {
		if o, ok := a.opened[v.Name]; ok {
			volumes = append(volumes, o.measure)
			proved = proved || plan.UsesTPM(o.source)
		}
	}
	err := closeTPM(ctx, a.tpm, a.phased, volumes)
	if err != nil {
		err = codes.Fail(codes.Latch, "closing the TPM: %w", err)
	}
	if err != nil && !proved && len(volumes) > 0 {
		a.say(err)
		return nil
	}
	return err
}

func closeTPM(ctx context.Context, t latch.TPM, phased bool, volumes []pcr.Digests) error {
	if len(volumes) == 0 {
		volumes = []pcr.Digests{pcr.Measure([]byte(capped))}
	}
	for _, digests := range volumes {
		if err := t.Extend(ctx, 15, digests.Of); err != nil {
			return err
		}
	}
	if phased {
		return nil
	}
	return extend(ctx, t, 11, pcr.LeaveInitrd)
}

func extend(ctx context.Context, t latch.TPM, index int, text string) error {
	digests := pcr.Measure([]byte(text))
	return t.Extend(ctx, index, digests.Of)
}

// Latch closes the TPM of a boot in which no agent runs any more, if it is not
// closed: the agent died, or was never started.
func Latch(ctx context.Context, sys System) error {
	if _, _, err := sys.Plan(); err != nil {
		return fmt.Errorf("this is for the early boot only: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	t, err := sys.Chip().OpenTPM(ctx)
	if codes.Of(err) == codes.TPMMissing {
		return nil
	}
	if err != nil {
		return err
	}
	defer t.Close()
	switch err := latch.Unused(ctx, t); {
	case codes.Of(err) == codes.PCR15Used:
		return nil // it is closed
	case err != nil:
		return err
	}
	return closeTPM(ctx, t, sys.Phased(), nil)
}
