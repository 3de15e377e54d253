package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"latchkey/boot/codes"
	bootreport "latchkey/boot/report"
	"latchkey/discover"
	"latchkey/internal/plan"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/tpm"
)

// A kmsCheck asks the key server for a plan, once, when the first volume
// wants it.
type kmsCheck struct {
	*checker
	plan *plan.Plan

	asked   bool
	server  finding // what became of looking for it
	url     string  // where one holds a pinned key
	client  *kms.Client
	id      *tpm.Identity
	noTPM   error
	latched bool // this boot has opened its volumes: it gets nothing more
	done    func()
}

func (k *kmsCheck) close() {
	if k.done != nil {
		k.done()
	}
}

// source says what speaks for the key server's opening a volume: the mark of
// a keyslot, the TPM, the server's challenge, and its decision.
func (k *kmsCheck) source(ctx context.Context, v plan.Volume, h *luks2.Header, standing standingSource) finding {
	if k.elsewhere {
		return unjudged
	}
	k.look(ctx)
	switch {
	case k.noTPM != nil:
		return finding{Result: bad, Text: "without its TPM this machine proves nothing: " + k.noTPM.Error(), Remedy: "latchkey tpm info"}
	case len(standing.Keyslots) == 0 && strings.Contains(standing.What, "does not pin"):
		return finding{Result: bad, Text: standing.What, Remedy: "latchkey volume enroll"}
	case len(standing.Keyslots) > 0 && !slices.ContainsFunc(unlock.Marks(h), func(m unlock.Mark) bool { return m.Node == k.id.NodeID() && m.Slot >= 0 }):
		return finding{Result: bad, Text: slotWords(standing.Keyslots) + " was enrolled by another machine or TPM", Remedy: "latchkey volume enroll"}
	case len(standing.Keyslots) == 0:
		return k.unmarked(h)
	case k.server.Result != good:
		return k.server
	}
	if !k.latched {
		return k.untold(fmt.Sprintf("%s was enrolled by this machine; %s holds the pinned key; whether it gives this machine its keys, a boot tells", slotWords(standing.Keyslots), k.url))
	}
	return k.decide(ctx, v, h, standing.Keyslots)
}

// untold is a warning of what only a boot can tell: the key server judges
// PCRs, and those of the next boot are not there yet.
func (k *kmsCheck) untold(text string) finding {
	words := k.id.NodeID().Words()
	return finding{Result: doubtful, Text: text, Remedy: fmt.Sprintf("reboot with somebody at the console; if it waits, on the key server: latchkey-kms node show %q, and node accept takes what it booted", words)}
}

// unmarked is said where no keyslot is enrolled. A mark that outlived its
// keyslot tells the mode: what a key server has sealed opened that keyslot
// alone. Otherwise it may hold a person's passphrase (volume put).
func (k *kmsCheck) unmarked(h *luks2.Header) finding {
	f := finding{Result: doubtful, Remedy: "latchkey volume enroll", Text: "no keyslot is marked as enrolled: it opens nothing, unless the key server holds a passphrase (latchkey-kms volume put)"}
	if slices.ContainsFunc(unlock.Marks(h), func(m unlock.Mark) bool { return m.Slot < 0 && m.Mode == kms.Bound }) {
		f.Result, f.Text = bad, "the keyslot that was enrolled is gone: what the key server holds (mode automated) opens nothing"
	}
	return f
}

// decide asks for the decision. PCR 15 is not zero, and stays so until the
// TPM is reset: whatever a key server gives is for a boot that has not opened
// its volumes. The key server refuses who is not approved, or is quarantined,
// before it looks at that PCR, and judges the others after it: that it took
// them is known if this boot's keys are its.
func (k *kmsCheck) decide(ctx context.Context, v plan.Volume, h *luks2.Header, keyslots []int) finding {
	volume := unlock.Volume{Name: v.Name, Header: h}
	want, err := volume.Wanted()
	if err != nil {
		return finding{Result: bad, Text: err.Error(), Remedy: headerRemedy("DEVICE")}
	}
	ctx, cancel := context.WithTimeout(ctx, trySource)
	defer cancel()
	g, err := k.client.Get(ctx, k.url, k.id, []kms.Want{want})
	words := k.id.NodeID().Words()
	if err == nil {
		defer g.Wipe()
		return finding{Result: doubtful, Text: fmt.Sprintf("%s gave keys to a boot that has opened its volumes: is it a key server that you know?", k.url), Remedy: "compare trust.kms with: latchkey-kms trust"}
	}
	switch code := codes.Of(err); {
	case code == codes.PCR15Used:
		text := fmt.Sprintf("%s was enrolled by this machine; %s knows it (%q) and lets it ask", slotWords(keyslots), k.url, words)
		opened, err := openedBy(k.update.path(bootreport.File), v.UUID)
		if err != nil || !slices.Contains(keyslots, opened) {
			return k.untold(text + "; this boot was not opened by it: whether it takes what is booted, a boot tells")
		}
		return finding{Result: good, Text: fmt.Sprintf("%s, as it did in this boot (keyslot %d)", text, opened)}
	case refusedBy(err):
		return finding{Result: bad, Text: fmt.Sprintf("%s: %s says %s", words, k.url, code), Remedy: kmsAdvice(code, words)}
	}
	return finding{Result: bad, Text: advise(err).Error(), Remedy: unreachableRemedy}
}

// look opens the TPM and finds a key server that holds a pinned key.
func (k *kmsCheck) look(ctx context.Context) {
	if k.asked {
		return
	}
	k.asked = true
	if k.id, k.done, k.noTPM = openIdentity(ctx, k.tpm); k.noTPM != nil {
		return
	}
	if k.latched, k.noTPM = latchedNow(ctx, k.tpm); k.noTPM != nil {
		return
	}
	if k.offline {
		k.server = finding{Result: doubtful, Text: "the key server was not asked (--offline)", Remedy: "latchkey check, without --offline"}
		return
	}
	k.server = k.find(ctx)
}

// latchedNow tells whether this boot has opened its volumes.
func latchedNow(ctx context.Context, path string) (bool, error) {
	t, err := tpm.Open(path)
	if err != nil {
		return false, advise(err)
	}
	defer t.Close()
	value, err := t.ReadPCR(ctx, 15)
	return value != [32]byte{}, err
}

// find looks as a boot does, for a few seconds.
func (k *kmsCheck) find(ctx context.Context) finding {
	d := &discovery{urls: k.plan.Find.URLs, services: k.plan.Find.Services, wait: 3 * time.Second, first: true}
	if k.kms != "" {
		d.urls, d.services = []string{k.kms}, nil
	}
	k.client = &kms.Client{Dial: dialKMS}
	for _, key := range k.plan.Trust.KMS {
		pin, err := kms.ParsePin(string(key))
		if err != nil {
			return finding{Result: bad, Text: err.Error(), Remedy: "correct trust.kms in latchkey.yaml"}
		}
		k.client.Pins = append(k.client.Pins, pin)
	}
	finder, err := discover.NewFinder(discover.Query{URLs: d.urls, Services: d.services}, discover.System{Shared: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		return finding{Result: bad, Text: err.Error(), Remedy: "correct find in latchkey.yaml"}
	}
	all, err := d.listen(ctx, finder, k.client)
	if err != nil {
		return finding{Result: bad, Text: err.Error(), Remedy: "ip link"}
	}
	for _, f := range all {
		if f.Pin == ours {
			k.url = "http://" + f.Address
			return finding{Result: good}
		}
	}
	return nobodyOurs(d, all)
}

// unreachableRemedy is what to do about a key server that does not answer.
const unreachableRemedy = "see whether latchkey-kms runs there and its port is open to this machine: latchkey discover"

// nobodyOurs is what is wrong where no key server holds a pinned key: one that
// answers has another key, and what does not answer has none that is known.
func nobodyOurs(d *discovery, all []found) finding {
	var strangers, silent []string
	for _, f := range all {
		if f.Pin == another {
			strangers = append(strangers, f.Address)
			continue
		}
		silent = append(silent, fmt.Sprintf("%s (%s)", f.Address, f.Pin))
	}
	switch {
	case len(strangers) > 0:
		return finding{Result: bad, Text: "no key server here holds a pinned key: another one has " + strings.Join(append(strangers, silent...), ", "), Remedy: "compare trust.kms with: latchkey-kms trust"}
	case len(silent) > 0:
		return finding{Result: bad, Text: "no key server answers: " + strings.Join(silent, ", "), Remedy: unreachableRemedy}
	}
	return finding{Result: bad, Text: d.nobody().Error(), Remedy: unreachableRemedy}
}
