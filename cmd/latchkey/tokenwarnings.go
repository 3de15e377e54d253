package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/plan"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/clevis"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/source/talos"
	"latchkey/unlock/source/together"
)

// byUUID is where this machine's volumes are found: udev's links, as the
// plan spells their UUIDs.
const byUUID = "/dev/disk/by-uuid"

// A tokenSource is a source that opens volumes by tokens that others made.
type tokenSource struct {
	source, token string
	missing       string // what is said if a volume has no such token
	check         func(p *plan.Plan, v plan.Volume, token json.RawMessage) error
}

var tokenSources = []tokenSource{
	{
		plan.SourceClevis, "clevis", "has no token of clevis: clevis luks bind makes one",
		func(p *plan.Plan, _ plan.Volume, token json.RawMessage) error {
			return clevis.Check(token, p.Clevis.Tang, p.Clevis.Sealed, p.Clevis.TLS.Any())
		},
	},
	{
		plan.SourceSystemd, cryptenroll.TokenType, "has no token of type " + cryptenroll.TokenType + ": latchkey volume enroll-tpm makes one",
		func(p *plan.Plan, v plan.Volume, token json.RawMessage) error {
			return cryptenroll.Check(token, p.Systemd.Sealed, v.Digest != "", p.Systemd.PIN)
		},
	},
	{plan.SourceTalosKMS, talos.TokenKMS, "has no token of type " + talos.TokenKMS + ": Talos made none", checkTalos(talos.TokenKMS)},
	{plan.SourceTalosTPM, talos.TokenTPM, "has no token of type " + talos.TokenTPM + ": Talos made none", checkTalos(talos.TokenTPM)},
}

func checkTalos(kind string) func(p *plan.Plan, v plan.Volume, token json.RawMessage) error {
	return func(p *plan.Plan, v plan.Volume, token json.RawMessage) error {
		return talos.Check(kind, token, p.Talos.Sealed, v.Digest != "")
	}
}

// ofKeyslot tells whether a token is for a keyslot. Those of Talos are for
// that of their number, and name none.
func ofKeyslot(h *luks2.Header, t luks2.Token) bool {
	if t.Type != talos.TokenKMS && t.Type != talos.TokenTPM {
		return len(t.Keyslots) > 0
	}
	return slices.ContainsFunc(h.Keyslots(), func(k luks2.Keyslot) bool { return k.ID == t.ID })
}

// tokenWarnings names volumes of this machine that a source of the plan
// cannot open by their tokens, and why. A volume that is not here, or that
// only root may read, is passed over.
func tokenWarnings(dir string, p *plan.Plan) (list []string) {
	for _, kind := range tokenSources {
		for path, v := range volumesHere(dir, p) {
			if slices.Contains(v.Sources, kind.source) {
				list = append(list, v.tokens(path, kind.source, kind.token, kind.missing, func(text json.RawMessage) error { return kind.check(p, v.Volume, text) })...)
			}
		}
	}
	for path, v := range volumesHere(dir, p) {
		list = append(list, v.recipes(path, p)...)
	}
	for path, v := range volumesHere(dir, p) {
		if sum := hex.EncodeToString(v.digest[:]); v.Digest != "" && !strings.EqualFold(v.Digest, sum) {
			list = append(list, fmt.Sprintf("volume %s: every boot would refuse %s: the plan pins the digest %s, the header's is %s; is it the volume that you mean?", v.Name, path, v.Digest, sum))
		}
	}
	return list
}

// signerWarnings names volumes of this machine that want an image whose
// PCR 11 another key signed than the one, in PEM, that signs this image.
func signerWarnings(dir string, p *plan.Plan, key []byte) (list []string) {
	for path, v := range volumesHere(dir, p) {
		if slices.Contains(v.Sources, plan.SourceSystemd) {
			list = append(list, v.tokens(path, plan.SourceSystemd, cryptenroll.TokenType, "", func(text json.RawMessage) error { return cryptenroll.CheckSigner(text, key) })...)
		}
		for _, t := range together.New(v.header, p.WaysOf(v.Volume), plan.KindOf).Sealed() {
			if err := cryptenroll.CheckSigner(t.Sealed, key); err != nil {
				list = append(list, fmt.Sprintf("volume %s: keyslot %d of %s will not open: token %d: %v", v.Name, t.Slot, path, t.ID, err))
			}
		}
	}
	return list
}

// A volumeHere is one of a plan that this machine has.
type volumeHere struct {
	plan.Volume
	header *luks2.Header
	digest [32]byte
}

// volumesHere are those that can be read, by their paths.
func volumesHere(dir string, p *plan.Plan) iter.Seq2[string, volumeHere] {
	return func(yield func(string, volumeHere) bool) {
		for _, v := range p.Volumes {
			path := filepath.Join(dir, v.UUID)
			f, h, err := readVolume(path)
			if err != nil {
				continue
			}
			f.Close()
			if !yield(path, volumeHere{v, h, h.SubsetDigest()}) {
				return
			}
		}
	}
}

// recipes says why combinations of sources do not open a volume.
func (v volumeHere) recipes(path string, p *plan.Plan) (list []string) {
	for _, name := range v.Sources {
		r, ok := p.Recipe(name)
		if !ok {
			continue
		}
		m := together.New(v.header, r.Ways, plan.KindOf)
		if err := m.Check(r.Ways); err != nil {
			list = append(list, fmt.Sprintf("volume %s: %s will not open together: %v", v.Name, path, err))
		}
		for _, t := range m.Sealed() {
			if err := cryptenroll.Check(t.Sealed, p.Systemd.Sealed, v.Digest != "" || t.Known(), p.Systemd.PIN); err != nil {
				list = append(list, fmt.Sprintf("volume %s: keyslot %d of %s will not open: token %d: %v", v.Name, t.Slot, path, t.ID, err))
			}
		}
	}
	return list
}

// tokens says why a source opens a volume by none of its tokens of a type;
// nothing if it does. missing is what is said if there is no such token.
func (v volumeHere) tokens(path, source, kind, missing string, check func(json.RawMessage) error) []string {
	var why []string
	for _, t := range v.header.Tokens() {
		if t.Type != kind || !ofKeyslot(v.header, t) {
			continue
		}
		err := check(t.JSON)
		if err == nil {
			return nil
		}
		why = append(why, fmt.Sprintf("token %d: %v", t.ID, err))
	}
	switch {
	case len(why) > 0:
		return []string{fmt.Sprintf("volume %s: the source %s will not open %s: %s; latchkey volume inspect %s prints what sources needs", v.Name, source, path, strings.Join(why, "; "), path)}
	case missing != "":
		return []string{fmt.Sprintf("volume %s: %s %s", v.Name, path, missing)}
	}
	return nil
}
