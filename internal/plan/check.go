package plan

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Sources are the key sources that this init has.
var sources = []string{"kms", "prompt"}

// volumeOptions are the crypttab(5) words that a volume may carry.
var volumeOptions = []string{"discard", "read-only", "no-read-workqueue", "no-write-workqueue", "same-cpu-crypt", "submit-from-crypt-cpus"}

// fileSystems are those that Root may name and the init can recognize.
var fileSystems = []string{"ext4", "ext3", "ext2", "xfs", "btrfs", "f2fs", "squashfs", "erofs"}

// Check tells the first rule that the plan breaks, as an error that wraps
// ErrInvalid and names the field as latchkey.yaml spells it.
func (p *Plan) Check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
	if len(p.Trust.KMS) == 0 && p.NeedsKMS() {
		return bad("trust.kms is empty: put the line of 'latchkey-kms trust' there")
	}

	for _, k := range p.Trust.KMS {
		if _, err := k.Key(); err != nil {
			return err
		}
	}

	if len(p.Volumes) == 0 {
		return bad("volumes is empty: name at least the volume that holds the root")
	}
	if len(p.Volumes) > maxVolumes {
		return bad("volumes has %d entries, the limit is %d", len(p.Volumes), maxVolumes)
	}

	seen := map[string]bool{}
	for i, v := range p.Volumes {
		if err := v.check(); err != nil {
			return bad("volumes[%d]: %w", i, err)
		}
		if seen[v.Name] || seen[v.UUID+v.Serial] {
			return bad("volumes[%d]: name %q or uuid %s is used twice", i, v.Name, v.UUID)
		}
		seen[v.Name], seen[v.UUID+v.Serial] = true, true
	}

	if !slices.Contains([]string{"", "p256", "rsa2048"}, p.TPM.EK) {
		return bad("tpm.ek is %q, want p256 or rsa2048", p.TPM.EK)
	}
	if !slices.Contains([]string{"reboot", "poweroff", "halt", "wait"}, p.OnFail.Action) {
		return bad("on-fail.action is %q, want reboot, poweroff, halt or wait", p.OnFail.Action)
	}

	if p.Root.FSType != "" && !slices.Contains(fileSystems, p.Root.FSType) {
		return bad("root.fstype is %q, want one of %s", p.Root.FSType, strings.Join(fileSystems, ", "))
	}
	if p.OnFail.After < 0 || p.Wait < 0 || p.Find.Timeout < 0 {
		return bad("a time is negative")
	}

	return nil
}

// maxVolumes is what one lk1 challenge carries.
const maxVolumes = 16

// NeedsKMS tells whether some volume names the KMS as a source.
func (p *Plan) NeedsKMS() bool {
	return slices.ContainsFunc(p.Volumes, func(v Volume) bool { return slices.Contains(v.Sources, "kms") })
}

func (v Volume) check() error {
	if !isUUID(v.UUID) {
		return fmt.Errorf("uuid is %q, want 8-4-4-4-12 lower-case hex digits (cryptsetup luksUUID DEVICE)", v.UUID)
	}
	if !isName(v.Name) {
		return fmt.Errorf("name is %q, want 1 to 64 letters, digits, '-', '_', '.' or '+', not beginning with '.' or '-'", v.Name)
	}

	if len(v.Serial) > 64 {
		return fmt.Errorf("serial has %d characters, the limit is 64", len(v.Serial))
	}
	if len(v.Sources) == 0 {
		return fmt.Errorf("sources is empty, want some of %s", strings.Join(sources, ", "))
	}

	for _, s := range v.Sources {
		if !slices.Contains(sources, s) {
			return fmt.Errorf("source %q is not known, want some of %s", s, strings.Join(sources, ", "))
		}
	}

	for _, o := range v.Options {
		if !slices.Contains(volumeOptions, o) {
			return fmt.Errorf("option %q is not known, want some of %s", o, strings.Join(volumeOptions, ", "))
		}
	}

	if raw, err := hex.DecodeString(v.Digest); err != nil || len(raw) != 0 && len(raw) != 32 {
		return fmt.Errorf("digest is %q, want 64 hex digits (latchkey volume inspect DEVICE)", v.Digest)
	}
	return nil
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdef", rune(c)) {
			return false
		}
	}
	return true
}

// isName holds mapping names to what needs no escaping in device-mapper,
// udev and systemd.
func isName(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '.' || s[0] == '-' || s == "control" {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.+", c) >= 0) {
			return false
		}
	}
	return true
}

// NeedsTPM tells whether some volume can be opened through the TPM only.
func (p *Plan) NeedsTPM() bool {
	return slices.ContainsFunc(p.Volumes, func(v Volume) bool { return !slices.Contains(v.Sources, "prompt") })
}

// Prompts tells whether a person at the console may open every volume
// that the boot cannot do without.
func (p *Plan) Prompts() bool {
	return !slices.ContainsFunc(p.Volumes, func(v Volume) bool { return !v.NoFail && !slices.Contains(v.Sources, "prompt") })
}
