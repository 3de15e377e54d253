package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/internal/plan"
	"latchkey/unlock"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
)

// A disk is one required volume, found and judged.
type disk struct {
	unlock.Volume
	file  *os.File
	block device.Block
}

// readTries is how often a header is read before a device that answers
// with errors is given up.
const readTries = 3

// settle is how long no further block device may appear before what was
// found counts: the clone of a volume is often on the same controller. The
// network takes longer in any case.
const settle = 30 * time.Millisecond

// findDisks waits until every volume of the plan has been found, looking
// again whenever a block device comes or changes. A volume that may be
// absent is waited for as long as the others take.
func findDisks(ctx context.Context, p *plan.Plan, changed <-chan struct{}, waiting func(error)) ([]*disk, error) {
	if p.Wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.Wait)
		defer cancel()
	}

	soon := time.NewTimer(5 * time.Second) // then people may know that we wait
	defer soon.Stop()
	again := time.NewTicker(2 * time.Second) // a device that answers with an error sends no event when it recovers
	defer again.Stop()
	failures := map[string]int{}
	for {
		found, missing := lookOnce(p, failures)
		if missing != nil && codes.Of(missing) != "volume-missing" {
			return nil, missing
		}

		var settled <-chan time.Time
		if missing == nil {
			settled = time.After(settle)
		}

		select {
		case <-settled:
			return found, nil
		case <-changed:
		case <-again.C:
		case <-soon.C:
			if missing != nil {
				waiting(missing)
			}
		case <-ctx.Done():
			return found, missing
		}

		closeDisks(found)
	}
}

// lookAgain looks for clones that came while the KMS was being asked, if any
// block device did: a second disk may take seconds to spin up.
func (w *worker) lookAgain() error {
	select {
	case <-w.blocks:
	default:
		return nil
	}
	found, err := lookOnce(w.plan, map[string]int{})
	closeDisks(found)
	if codes.Of(err) == "volume-clones" {
		return err
	}
	return nil // anything else shows when the volume is opened
}

// lookOnce looks at every block device once. A found volume that breaks a
// rule ends the search; one that is absent is code volume-missing.
func lookOnce(p *plan.Plan, failures map[string]int) ([]*disk, error) {
	blocks, err := device.Blocks("/sys")
	if err != nil {
		return nil, err
	}
	var seen []string
	byUUID := map[string][]device.Block{}
	for _, s := range probeAll(blocks) {
		if s.super.Type == "crypto_LUKS" {
			byUUID[strings.ToLower(s.super.UUID)] = append(byUUID[strings.ToLower(s.super.UUID)], s.block)
		}
		seen = append(seen, strings.TrimRight(s.block.Name+" "+s.super.Type+" "+s.super.UUID, " "))
	}
	return readDisks(p, byUUID, seen, failures)
}

// readDisks reads the header of each volume of the plan.
func readDisks(p *plan.Plan, byUUID map[string][]device.Block, seen []string, failures map[string]int) (found []*disk, err error) {
	defer func() {
		if err != nil {
			closeDisks(found)
			found = nil
		}
	}()
	for _, v := range p.Volumes {
		b, err := pick(v, byUUID[v.UUID], seen)
		if err != nil && v.NoFail && codes.Of(err) == "volume-missing" {
			continue
		}
		if err != nil {
			return found, err
		}

		d, err := readDisk(v, b, failures)
		if err != nil {
			return found, err
		}

		found = append(found, d)
	}
	return found, nil
}

func closeDisks(disks []*disk) {
	for _, d := range disks {
		d.file.Close()
	}
}

type probed struct {
	block device.Block
	super device.Super
}

// probeAll reads the beginning of every device, side by side: a dying
// disk must not hold up the others.
func probeAll(blocks []device.Block) []probed {
	all := make([]probed, len(blocks))
	var wg sync.WaitGroup
	for i, b := range blocks {
		all[i].block = b
		if strings.HasPrefix(b.Name, "dm-") {
			continue
		}
		wg.Go(func() {
			f, err := os.Open(b.Path)
			if err != nil {
				return // no node yet, or no medium: its next event comes
			}
			defer f.Close()
			all[i].super, _ = device.Probe(f)
		})
	}

	wg.Wait()
	return all
}

// pick decides which device is the volume.
func pick(v plan.Volume, blocks []device.Block, seen []string) (device.Block, error) {
	if v.Serial != "" {
		blocks = slices.DeleteFunc(slices.Clone(blocks), func(b device.Block) bool { return b.Serial != v.Serial })
	}
	switch len(blocks) {
	case 0:
		return device.Block{}, codes.Fail("volume-missing", "no LUKS2 volume %s (%s); seen: %s", v.UUID, v.Name, strings.Join(seen, ", "))
	case 1:
		return blocks[0], nil
	}
	var names []string
	for _, b := range blocks {
		names = append(names, fmt.Sprintf("%s serial %q", b.Path, b.Serial))
	}
	return device.Block{}, codes.Fail("volume-clones", "%d devices carry the UUID %s: %s", len(blocks), v.UUID, strings.Join(names, ", "))
}

// readDisk reads and judges a volume's header.
func readDisk(v plan.Volume, b device.Block, failures map[string]int) (*disk, error) {
	f, err := os.Open(b.Path)
	if err != nil {
		return nil, codes.Fail("volume-missing", "opening %s: %w", b.Path, err)
	}

	header, err := luks2.Read(f, b.SizeBytes)
	if v.LUKS1 && errors.Is(err, luks2.ErrLUKS1) {
		header, err = luks2.ReadLUKS1(f, b.SizeBytes)
	}
	if err != nil {
		f.Close()
		return nil, headerError(v, b, err, failures)
	}

	digest, err := v.PinnedDigest()
	if err != nil {
		f.Close()
		return nil, err
	}

	return &disk{unlock.Volume{Name: v.Name, Device: b.Path, Header: header, Digest: digest, Options: dmOptions(v)}, f, b}, nil
}

// headerError gives what luks2 says a code of the boot's: broken rules are
// one code here, whatever the rule, and an I/O error is three tries.
func headerError(v plan.Volume, b device.Block, err error, failures map[string]int) error {
	var rejected *luks2.Rejected
	switch {
	case errors.Is(err, luks2.ErrDamaged):
		return err
	case errors.Is(err, luks2.ErrLUKS1):
		return codes.Fail("header-rejected", "%s on %s: %w, and the plan does not say luks1: true", v.Name, b.Path, err)
	case errors.As(err, &rejected):
		return codes.Fail("header-rejected", "%s on %s: %w", v.Name, b.Path, err)
	}
	if failures[b.Path]++; failures[b.Path] < readTries {
		return codes.Fail("volume-missing", "reading %s: %w", b.Path, err)
	}
	return codes.Fail("volume-io", "reading %s, %d times: %w", b.Path, readTries, err)
}

func dmOptions(v plan.Volume) dm.Options {
	has := func(o string) bool { return slices.Contains(v.Options, o) }
	return dm.Options{
		ReadOnly: has("read-only"), AllowDiscards: has("discard"),
		NoReadWorkqueue: has("no-read-workqueue"), NoWriteWorkqueue: has("no-write-workqueue"),
		SameCPUCrypt: has("same-cpu-crypt"), SubmitFromCryptCPUs: has("submit-from-crypt-cpus"),
	}
}
