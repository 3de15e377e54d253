package plan

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/internal/endpoint"
	"latchkey/internal/mapping"
)

// Sources for volumes that Talos Linux encrypted.
const (
	SourceTalosKMS  = "talos-kms"
	SourceTalosTPM  = "talos-tpm2"
	SourceTalosNode = "talos-node-id"
)

// maxTalosURLs bounds the KMS of a plan.
const maxTalosURLs = 8

// A Talos says how volumes that Talos encrypted may be opened.
type Talos struct {
	// KMS are the URLs that are asked: http://host:port, which is in the
	// clear, and https://host:port.
	KMS []string `json:"kms,omitempty"`
	// TLS says how those of URLs https:// are known.
	TLS TLS `json:"tls,omitzero"`
	// Sealed are SHA-256, in hex, of what a KMS sealed and of the public parts
	// of what a TPM did.
	Sealed []string `json:"sealed,omitempty"`
	// Node is the UUID by which the machine is known; "" is that of SMBIOS.
	Node string `json:"node,omitempty"`
	// Wait is how long a KMS is asked; 0 is for ever.
	Wait time.Duration `json:"wait_ns,omitempty"`
}

func (p *Plan) checkTalos() error {
	t, word := p.Talos, SourceTalosKMS // as latchkey.yaml has it
	if !p.NeedsTalosKMS() && p.lists(SourceTalosTPM) {
		word = SourceTalosTPM
	}
	if err := t.TLS.check(SourceTalosKMS); err != nil {
		return err
	}
	switch {
	case t.Wait < 0:
		return fmt.Errorf("%s: wait is negative", SourceTalosKMS)
	case len(t.KMS) > maxTalosURLs || len(t.Sealed) > maxSealed:
		return fmt.Errorf("%s: url has %d entries and sealed %d, the limits are %d and %d", SourceTalosKMS, len(t.KMS), len(t.Sealed), maxTalosURLs, maxSealed)
	case p.lists(SourceTalosKMS) && len(t.KMS) == 0:
		return fmt.Errorf("%s: url is missing: the endpoint of the KMS in Talos' configuration", SourceTalosKMS)
	case t.TLS.Any() && !t.secure():
		return fmt.Errorf("%s: ca and pin are for https://, and no url is", SourceTalosKMS)
	case !t.TLS.Any() && t.secure():
		return fmt.Errorf("%s: nothing says how a KMS at https:// is known: ca: FILE or pin: sha256//…", SourceTalosKMS)
	case t.Node != "" && !mapping.IsUUID(t.Node):
		return fmt.Errorf("%s: node is %.60q, want 8-4-4-4-12 lower-case hex digits", SourceTalosKMS, t.Node)
	}
	for _, u := range t.KMS {
		if _, err := endpoint.ParseURL("http" + strings.TrimPrefix(strings.TrimPrefix(u, "https"), "http")); err != nil {
			return fmt.Errorf("%s: url %.80q: %w", SourceTalosKMS, u, err)
		}
	}
	for _, s := range t.Sealed {
		if raw, err := hex.DecodeString(s); err != nil || len(raw) != 32 || strings.ToLower(s) != s {
			return fmt.Errorf("%s: sealed: %.80q is not 64 hex digits: latchkey volume inspect DEVICE prints them", word, s)
		}
	}
	for i, v := range p.Volumes {
		if err := p.checkTalosVolume(v); err != nil {
			return fmt.Errorf("volumes[%d]: %w", i, err)
		}
	}
	return nil
}

// checkTalosVolume wants each volume to be told apart from another disk: a KMS
// seals for everybody, and a UUID is no secret.
func (p *Plan) checkTalosVolume(v Volume) error {
	for _, s := range []string{SourceTalosKMS, SourceTalosTPM} {
		if slices.Contains(v.Sources, s) && v.Digest == "" && len(p.Talos.Sealed) == 0 {
			return fmt.Errorf("%s needs to know the volume: %s: {sealed: [HEX]}, or digest: HEX (latchkey volume inspect DEVICE prints both)", s, s)
		}
	}
	if slices.Contains(v.Sources, SourceTalosNode) {
		switch {
		case !isTalosVolume(v.Talos):
			return fmt.Errorf("%s: volume is %.80q, want what Talos calls it: STATE, EPHEMERAL or u-NAME", SourceTalosNode, v.Talos)
		case v.Digest == "":
			return fmt.Errorf("%s opens by what is no secret, and needs to know the volume: digest: HEX (latchkey volume inspect DEVICE prints it)", SourceTalosNode)
		}
	}
	if v.LockedTo == "" {
		return nil
	}
	i := slices.IndexFunc(p.Volumes, func(o Volume) bool { return o.Name == v.LockedTo })
	switch {
	case i < 0 || v.LockedTo == v.Name:
		return fmt.Errorf("lock-to-state is %.80q, want the name of another volume", v.LockedTo)
	case p.Volumes[i].LockedTo != "":
		return fmt.Errorf("lock-to-state: volume %s is locked itself", v.LockedTo)
	case p.Volumes[i].NoFail && !v.NoFail:
		return fmt.Errorf("lock-to-state: volume %s has nofail, and this one has not", v.LockedTo)
	}
	return nil
}

// talosVolumes are those of Talos itself that may be encrypted; talosPrefixes
// are of volumes that users make: for data, swap, raw ones, and those that
// were there (pkg/machinery/constants of Talos).
var (
	talosVolumes  = []string{"STATE", "EPHEMERAL", "IMAGECACHE"}
	talosPrefixes = []string{"u-", "s-", "r-", "e-"}
)

func isTalosVolume(name string) bool {
	if len(name) > 64 || !printable(name) {
		return false
	}
	return slices.Contains(talosVolumes, name) || slices.ContainsFunc(talosPrefixes, func(p string) bool { return len(name) > len(p) && strings.HasPrefix(name, p) })
}

func (t Talos) secure() bool {
	return slices.ContainsFunc(t.KMS, func(u string) bool { return strings.HasPrefix(u, "https:") })
}

// NeedsTalosKMS tells whether a KMS of Talos may be asked.
func (p *Plan) NeedsTalosKMS() bool { return p.lists(SourceTalosKMS) }

// NeedsState tells whether a volume's passphrase goes on with a salt that is
// in another's file system.
func (p *Plan) NeedsState() bool {
	return slices.ContainsFunc(p.Volumes, func(v Volume) bool { return v.LockedTo != "" })
}

// TalosTime is how long a KMS of Talos is asked, as AskTime is of key servers.
func (p *Plan) TalosTime() time.Duration {
	if p.ImageNet != nil {
		return 2 * p.Talos.Wait
	}
	return p.Talos.Wait
}

func describeTalos(s *Section, p *Plan) {
	for _, u := range p.Talos.KMS {
		how := "in the clear: whoever is on the LAN can read the key"
		if strings.HasPrefix(u, "https:") {
			how = fmt.Sprintf("known by %d certificate(s) or key(s); the image has the init with TLS", len(p.Talos.TLS.CA)+len(p.Talos.TLS.Pins))
		}
		s.add("a KMS of Talos is asked at %s, %s", u, how)
	}
	if p.Talos.Node != "" {
		s.add("for Talos this machine is %s", p.Talos.Node)
	}
	for _, t := range p.Talos.Sealed {
		s.add("a token of Talos may have sealed %s", t)
	}
}
