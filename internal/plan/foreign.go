package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// foreign tells which command line the hints come from. An image that knows
// the command line it was built with uses no other, unless the plan allows
// it: what an addon, the boot loader or the firmware added or took away is
// named. It is measured into PCR 12, not 11, and its signer is not the
// image's.
func (p *Plan) foreign(cmdline, image string) (used string, problems []Problem) {
	if image == "" {
		return cmdline, nil
	}
	added, gone := difference(cmdline, image), difference(image, cmdline)
	if len(added)+len(gone) == 0 {
		return cmdline, nil
	}

	used, verdict := image, "not used (stub.addons in latchkey.yaml would allow it)"
	if p.Stub.Addons {
		used, verdict = cmdline, "used, as stub.addons allows"
	}
	var what []string
	if len(added) > 0 {
		what = append(what, fmt.Sprintf("%q is not in this image, but of an addon, the boot loader or the firmware", strings.Join(added, " ")))
	}
	if len(gone) > 0 {
		what = append(what, fmt.Sprintf("%q of this image is missing", strings.Join(gone, " ")))
	}
	return used, []Problem{{Reason: strings.Join(what, "; ") + ": " + verdict}}
}

// Line is the command line that the plan lets anything be taken from: that of
// the image, where the image knows it and addons are not allowed.
func (p *Plan) Line(cmdline, image string) string {
	used, _ := p.foreign(cmdline, image)
	return used
}

// difference lists the words of one command line that another has not, or
// not as often.
func difference(line, other string) (words []string) {
	have := strings.Fields(strings.TrimRight(other, "\x00"))
	for _, w := range strings.Fields(strings.TrimRight(line, "\x00")) {
		if i := slices.Index(have, w); i >= 0 {
			have = slices.Delete(have, i, i+1)
			continue
		}
		words = append(words, w)
	}
	return words
}

// maxCredential is the longest name of a credential: it is a file's.
const maxCredential = 255

// Allows tells whether the real root may have the credential of that name.
func (s Stub) Allows(credential string) bool {
	return isCredential(credential) && slices.ContainsFunc(s.Credentials, func(pattern string) bool {
		prefix, open := strings.CutSuffix(pattern, "*")
		return credential == pattern || open && strings.HasPrefix(credential, prefix)
	})
}

// isCredential: systemd's credential_name_valid, which is a file's name and
// of a descriptor (src/shared/creds-util.c).
func isCredential(name string) bool {
	return name != "" && len(name) <= maxCredential && printable(name) && !strings.ContainsAny(name, "/:*") && path.Clean(name) == name && name != "." && name != ".."
}

func (p *Plan) checkStub() error {
	if len(p.Stub.Credentials) > maxModLists {
		return fmt.Errorf("stub.credentials has %d entries, the limit is %d", len(p.Stub.Credentials), maxModLists)
	}
	for i, pattern := range p.Stub.Credentials {
		if name := strings.TrimSuffix(pattern, "*"); pattern != "*" && !isCredential(name) {
			return fmt.Errorf("stub.credentials[%d] is %q, want the name of a credential, or the beginning of names and a *", i, pattern)
		}
	}
	return nil
}
