package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"latchkey/internal/endpoint"
)

// A Section is one part of what a boot will do, in sentences.
type Section struct {
	Title string
	Lines []string
}

func (s *Section) add(format string, args ...any) {
	s.Lines = append(s.Lines, fmt.Sprintf(format, args...))
}

// Describe says all that a boot with this plan will do, for people. The
// init logs the one line of Plan.String and links none of this.
func Describe(p *Plan) []Section {
	return []Section{
		{"volumes", describeVolumes(p)},
		{"key server", describeFind(p)},
		{"network", describeNet(p)},
		{"root", describeRoot(p)},
		{"modules", describeModules(p)},
		{"beside the image", describeStub(p)},
		{"waits and failures", describeWaits(p)},
	}
}

func describeVolumes(p *Plan) []string {
	var s Section
	for _, t := range p.Clevis.Tang {
		s.add("a token of clevis may name the tang key %s", t)
	}
	if n := len(p.Clevis.TLS.CA) + len(p.Clevis.TLS.Pins); p.NeedsTang() && n > 0 {
		s.add("tang servers at https:// are known by %d certificate(s) or key(s); the image has the init with TLS", n)
	}
	for _, t := range p.Clevis.Sealed {
		s.add("a token of clevis may have the sealed secret %s", t)
	}
	for _, t := range p.Systemd.Sealed {
		s.add("a token of systemd-cryptenroll may have the sealed secret %s", t)
	}
	describeTalos(&s, p)
	describeKairos(p, &s)
	for _, v := range p.Volumes {
		s.add("%s: LUKS volume %s becomes /dev/mapper/%s; %s", v.Name, v.UUID, v.Name, need(v))
		s.add("%s: %s", v.Name, how(p, v))
		if len(v.Options) > 0 {
			s.add("%s: options %s", v.Name, strings.Join(v.Options, ", "))
		}
		if v.Serial != "" {
			s.add("%s: only on the disk with the serial %q", v.Name, v.Serial)
		}
		if v.Digest != "" {
			s.add("%s: only with the header digest %s", v.Name, v.Digest)
		}
		if v.Header != nil {
			s.add("%s: %s is its header; the payload is on %s", v.Name, v.Header, cmp.Or(v.Data, "the whole disk"))
		}
		if v.Accept == AcceptCryptsetup {
			s.add("%s: its header may name any cipher and hash that cryptsetup makes and latchkey knows (accept)", v.Name)
		}
		if v.LockedTo != "" {
			s.add("%s: only after %s, whose file encryption-salt.yaml stands behind its passphrases", v.Name, v.LockedTo)
		}
		if v.Label != "" {
			s.add("%s: asked for as %q where the source is kairos", v.Name, v.Label)
		}
		if v.LUKS1 {
			s.add("%s: a header of LUKS version 1 is taken as well", v.Name)
		}
	}
	return s.Lines
}

func need(v Volume) string {
	if v.NoFail {
		return "the boot goes on without it, whatever is wrong with it (nofail)"
	}
	return "the boot needs it"
}

// how says what opens a volume, in one sentence. A source begins at once if
// any volume lists it first.
func how(p *Plan, v Volume) string {
	text := sourceWords(p, v.Sources[0]) + " opens it"
	if len(v.Sources) == 1 {
		return text + ", nothing else does"
	}
	for i, s := range v.Sources[1:] {
		verb, failed := "tried", "that has failed"
		if s == SourcePush {
			text += ", or " + sourceWords(p, s) + ", in its answers"
			continue
		}
		if s == SourcePrompt || s == SourceKMS {
			verb = "asked for"
		}
		if i > 0 {
			failed = "those have failed"
		}
		at := fmt.Sprintf("%s later, or at once when %s", p.HeadStartOf(s), failed)
		if p.HeadStartOf(s) == 0 || slices.ContainsFunc(p.Volumes, func(o Volume) bool { return o.Sources[0] == s }) {
			at = "at the same time"
		}
		text += fmt.Sprintf(", or %s, which is %s %s", sourceWords(p, s), verb, at)
	}
	return text
}

func describeFind(p *Plan) []string {
	var s Section
	if !p.NeedsKMS() {
		s.add("not asked: no volume has the source kms")
		return s.Lines
	}

	for _, u := range p.Find.URLs {
		s.add("asked at %s (%s)", u, lookedUp(u))
	}
	for _, name := range p.Find.Services {
		s.add("browsed for as %s by mDNS and DNS", name)
	}
	for _, k := range p.Trust.KMS {
		s.add("trusted if it holds the key %s", string(k))
	}

	if p.Find.Timeout > 0 {
		s.add("the boot fails with kms-timeout when none has granted after %s", p.AskTime())
	} else {
		s.add("asked for ever: no find.timeout is set")
	}
	if p.TPM.EK != "" {
		s.add("the TPM's endorsement key %s names this machine", p.TPM.EK)
	}
	if p.TPM.Kept {
		s.add("the TPM's keys are taken from its NV, where it keeps them, and else are made")
	}
	if p.Find.NoReport {
		s.add("no report is sent after unlocking")
	} else {
		s.add("a report is sent after unlocking")
	}
	return s.Lines
}

// lookedUp says how the host of a URL is found.
func lookedUp(url string) string {
	e, err := endpoint.ParseURL(url)
	if err != nil {
		return err.Error()
	}
	if _, err := netip.ParseAddr(e.Host); err == nil {
		return "an address: nothing is looked up"
	}
	if strings.HasSuffix(strings.ToLower(strings.TrimSuffix(e.Host, ".")), ".local") {
		return "looked up by mDNS, and by DNS where there are servers"
	}
	return "looked up by DNS"
}

func describeRoot(p *Plan) []string {
	var s Section
	for i, r := range p.Roots() {
		before := ""
		if i > 0 {
			before = "if the command line's root does not work, the image's: "
		}
		mode := "read-only"
		if r.ReadWrite {
			mode = "read-write"
		}
		s.add("%s%s, mounted %s as %s, options %s", before, p.RootDevice(r), mode, cmp.Or(r.FSType, "what is recognized in it"), cmp.Or(r.Flags, "none"))
		if group, volume, ok := p.LogicalRoot(r); ok {
			s.add("%sit is the logical volume %s of the group %s, whose physical volumes are in the volumes above", before, volume, group)
		}
		if r.Overlay != "" {
			s.add("%swhat is written to it goes to an overlay: %s", before, cmp.Or(r.OverlayDevice(), "in memory, and gone with the next boot"))
		}
		s.add("%sits init is %s", before, strings.Join(r.Inits(), ", else "))
	}
	for i, u := range p.Usrs() {
		s.add("%s/usr is %s, mounted as %s, options %s", map[bool]string{true: "if the command line's /usr does not work, the image's: "}[i > 0], u.Device, cmp.Or(u.FSType, "what is recognized in it"), cmp.Or(u.Flags, "none"))
	}
	if len(p.Logical) > 0 {
		s.add("besides the root's, logical volumes that become mappings: %s", strings.Join(p.Logical, ", "))
	}
	for i, d := range p.Resumes() {
		s.add("%sa hibernated system in %s is taken up again, before the root is mounted", map[bool]string{true: "if the command line's is none of the volumes, "}[i > 0], d)
	}
	if p.Root.NoLogical {
		s.add("the root is looked for in no logical volume (rd.lvm=0)")
	}
	return s.Lines
}

// describeStub is about what lies beside a unified kernel image.
func describeStub(p *Plan) []string {
	var s Section
	if len(p.Stub.Credentials) > 0 {
		s.add("the real root gets the credentials %s of the boot partition", strings.Join(p.Stub.Credentials, ", "))
	} else {
		s.add("credentials of the boot partition are not used")
	}
	if p.Stub.Addons {
		s.add("words that addons or the boot loader add to the command line of a unified kernel image are used")
	} else {
		s.add("words that addons or the boot loader add to the command line of a unified kernel image are not used")
	}
	return s.Lines
}

func describeModules(p *Plan) []string {
	var s Section
	s.add("loaded for each device that asks for one")
	if len(p.Modules.Always) > 0 {
		s.add("always loaded: %s", strings.Join(p.Modules.Always, ", "))
	}
	if len(p.Modules.Blocked) > 0 {
		s.add("never loaded: %s", strings.Join(p.Modules.Blocked, ", "))
	}
	return s.Lines
}
