package plan

import (
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	"latchkey/internal/endpoint"
	"latchkey/internal/mapping"
	"latchkey/internal/spelling"
)

// volumeOptions are the crypttab(5) words that a volume may carry.
var volumeOptions = []string{"discard", "read-only", "no-read-workqueue", "no-write-workqueue", "same-cpu-crypt", "submit-from-crypt-cpus"}

// What latchkey.yaml says of a volume's ciphers and hashes. In the plan,
// strict is "".
const (
	AcceptStrict     = "strict"
	AcceptCryptsetup = "cryptsetup"
)

// fileSystems are those that Root may name and the init can recognize.
var fileSystems = []string{"ext4", "ext3", "ext2", "xfs", "btrfs", "f2fs", "squashfs", "erofs"}

// Limits of a plan, besides those of its parts.
const (
	maxVolumes  = 16   // what one lk1 challenge carries
	maxFlags    = 2048 // bytes of rootflags=; mount(2) takes a page with the file system's name
	maxModLists = 256  // modules that are loaded, or blocked, by name
)

// Check tells the first rule that the plan breaks, as an error that wraps
// ErrInvalid and names the field as latchkey.yaml spells it. It is the one
// judge of a plan: when an image is built, when a plan is shown, and after
// each option of the command line. What it accepts, the search for key
// servers, device-mapper, the records between PID 1 and its children, and
// the network take as it stands.
func (p *Plan) Check() error {
	for _, check := range []func() error{p.checkTrust, p.checkFind, p.checkVolumes, p.checkSources, p.checkRoot, p.checkUsr, p.checkResume, p.checkNet, p.checkRest, p.checkStub} {
		if err := check(); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	return nil
}

func (p *Plan) checkTrust() error {
	if len(p.Trust.KMS) == 0 && p.NeedsKMS() {
		return fmt.Errorf("trust.kms is empty: put the line of 'latchkey-kms trust' there")
	}
	for i, k := range p.Trust.KMS {
		if _, err := k.Key(); err != nil {
			return fmt.Errorf("trust.kms[%d]: %w", i, err)
		}
	}
	return nil
}

func (p *Plan) checkFind() error {
	for i, u := range p.Find.URLs {
		if _, err := endpoint.ParseURL(u); err != nil {
			return fmt.Errorf("find.urls[%d] is %q: %w", i, u, err)
		}
	}
	for i, s := range p.Find.Services {
		if err := endpoint.CheckService(s); err != nil {
			return fmt.Errorf("find.services[%d]: %w", i, err)
		}
	}

	n := len(p.Find.URLs) + len(p.Find.Services)
	switch {
	case n == 0 && p.NeedsKMS():
		return fmt.Errorf("find names neither urls nor services, and a volume needs the key server")
	case n > endpoint.MaxTargets:
		return fmt.Errorf("find has %d urls and services, the limit is %d", n, endpoint.MaxTargets)
	case p.Find.Timeout < 0:
		return fmt.Errorf("find.timeout is negative")
	}
	return nil
}

func (p *Plan) checkVolumes() error {
	if len(p.Volumes) == 0 {
		return fmt.Errorf("volumes is empty: name at least the volume that holds the root")
	}
	if len(p.Volumes) > maxVolumes {
		return fmt.Errorf("volumes has %d entries, the limit is %d", len(p.Volumes), maxVolumes)
	}

	seen := map[string]int{}
	for i, v := range p.Volumes {
		if err := v.check(); err != nil {
			return fmt.Errorf("volumes[%d]: %w", i, err)
		}
		// A doubled UUID, even on disks of two serials, is refused by the key
		// server at every boot: one key belongs to one volume.
		for _, key := range []string{"name " + v.Name, "uuid " + v.UUID} {
			if first, twice := seen[key]; twice {
				return fmt.Errorf("volumes[%d]: %s is that of volumes[%d], too (give a copy a UUID of its own: cryptsetup luksUUID --uuid NEW DEVICE)", i, key, first)
			}
			seen[key] = i
		}
	}
	return nil
}

func (v Volume) check() error {
	if !mapping.IsUUID(v.UUID) {
		return fmt.Errorf("uuid is %q, want 8-4-4-4-12 lower-case hex digits (cryptsetup luksUUID DEVICE)", v.UUID)
	}
	if v.Name == "" {
		return fmt.Errorf("name is missing: what it is under /dev/mapper")
	}
	if err := mapping.CheckName(v.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if len(v.Serial) > 64 || !printable(v.Serial) {
		return fmt.Errorf("serial is %q, want at most 64 printable characters (lsblk -o SERIAL)", v.Serial)
	}

	if len(v.Label) > maxLabel || !printable(v.Label) {
		return fmt.Errorf("label is %.80q, want at most %d printable ASCII characters", v.Label, maxLabel)
	}
	if err := eachOnce("options", v.Options, volumeOptions); err != nil {
		return err
	}

	if err := v.checkHeader(); err != nil {
		return err
	}
	if v.Accept != "" && v.Accept != AcceptCryptsetup {
		return fmt.Errorf("accept is %.40q, want %s or %s", v.Accept, AcceptStrict, AcceptCryptsetup)
	}
	if raw, err := hex.DecodeString(v.Digest); err != nil || len(raw) != 0 && len(raw) != 32 {
		return fmt.Errorf("digest is %q, want 64 hex digits (latchkey volume inspect DEVICE)", v.Digest)
	}
	return nil
}

// eachOnce tells whether every word of a list is known and stands once.
func eachOnce(field string, words, known []string) error {
	for i, w := range words {
		if !slices.Contains(known, w) {
			return fmt.Errorf("%s: %q is not known%s", field, w, spelling.Suggest(w, known))
		}
		if slices.Contains(words[:i], w) {
			return fmt.Errorf("%s has %q twice", field, w)
		}
	}
	return nil
}

func (p *Plan) checkNet() error {
	if err := p.Net.Check(); err != nil {
		return err
	}
	if p.NeedsNetwork() && p.Net.isOff() {
		return fmt.Errorf("net: every link is off, and a volume needs a server")
	}
	return nil
}

func (p *Plan) checkRest() error {
	if !slices.Contains([]string{"", "p256", "rsa2048"}, p.TPM.EK) {
		return fmt.Errorf("tpm.ek is %q, want p256 or rsa2048", p.TPM.EK)
	}
	if p.TPM.Kept && p.TPM.EK == "rsa2048" {
		return fmt.Errorf("tpm.kept is for P-256 keys: leave out either tpm.kept or tpm.ek")
	}
	if !slices.Contains([]string{"reboot", "poweroff", "halt", "wait"}, p.OnFail.Action) {
		return fmt.Errorf("on-fail.action is %q, want reboot, poweroff, halt or wait", p.OnFail.Action)
	}
	if p.OnFail.After < 0 {
		return fmt.Errorf("on-fail.after is negative")
	}
	if p.Wait < 0 {
		return fmt.Errorf("wait is negative")
	}

	for field, list := range map[string][]string{"modules.add": p.Modules.Always, "blocked modules": p.Modules.Blocked} {
		if len(list) > maxModLists {
			return fmt.Errorf("%s has %d entries, the limit is %d", field, len(list), maxModLists)
		}
		if i := slices.IndexFunc(list, func(m string) bool { return !isModuleName(m) }); i >= 0 {
			return fmt.Errorf("%s: %q is not the name of a module", field, list[i])
		}
	}
	return nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// isProgram tells whether a path can be that of an init: absolute and
// without detours.
func isProgram(s string) bool {
	return strings.HasPrefix(s, "/") && len(s) < 4096 && path.Clean(s) == s && printable(s)
}
