package plan

import (
	"fmt"
	"slices"
	"time"

	"latchkey/internal/endpoint"
)

// Kairos says how the passphrases of volumes are had as Kairos' own client
// has them.
type Kairos struct {
	// Server is the URL that is asked. "" asks nobody: the TPM keeps the
	// passphrase, encrypted, in the NV index.
	Server string `json:"server,omitempty"`
	// MDNS looks for the server's address by multicast DNS: what announces
	// _kcrypt._tcp for the host of the URL.
	MDNS bool `json:"mdns,omitempty"`
	// Legacy allows the older exchange, which shows no boot state.
	Legacy bool `json:"legacy,omitempty"`
	// AnyServer takes the word of whoever answers, and so a disk that was
	// exchanged.
	AnyServer bool `json:"any_server,omitempty"`
	// TLS is how a server at https:// is known.
	TLS TLS `json:"tls,omitzero"`
	// NVIndex is where the encrypted passphrase is; KeyIndex is the handle of
	// the key that decrypts it, and what the older exchange gives. 0 is what
	// Kairos has: 0x01500000 and 0x81000008.
	NVIndex  uint32 `json:"nv_index,omitempty"`
	KeyIndex uint32 `json:"key_index,omitempty"`
	// Wait is how long the server is asked; 0 is for ever.
	Wait time.Duration `json:"wait_ns,omitempty"`
}

// maxLabel is what a label of a volume may have, in bytes: that of a LUKS2
// header has 48 with its end (docs/on-disk-format-luks2.pdf, section 2.1).
const maxLabel = 47

// NeedsKairos tells whether a server of Kairos' protocol is asked.
func (p *Plan) NeedsKairos() bool { return p.lists(SourceKairos) && p.Kairos.Server != "" }

// KairosTime is how long the server is asked, as AskTime is of key servers.
func (p *Plan) KairosTime() time.Duration {
	if p.ImageNet != nil {
		return 2 * p.Kairos.Wait
	}
	return p.Kairos.Wait
}

// isHandle tells whether a handle is of a kind: Part 2, section 7.2.
func isHandle(h uint32, kind byte) bool { return h == 0 || byte(h>>24) == kind }

func (p *Plan) checkKairos() error {
	k := p.Kairos
	if !p.lists(SourceKairos) {
		return nil
	}
	switch {
	case !isHandle(k.NVIndex, 0x01):
		return fmt.Errorf("kairos: nv-index is %#x, want an NV index such as 0x1500000", k.NVIndex)
	case !isHandle(k.KeyIndex, 0x81):
		return fmt.Errorf("kairos: c-index is %#x, want a persistent handle such as 0x81000008", k.KeyIndex)
	case k.Wait < 0:
		return fmt.Errorf("kairos: wait is negative")
	case k.Server == "" && k.NVIndex == 0:
		return fmt.Errorf("kairos: server is missing: the URL in challenger_server; or nv-index: 0x1500000, if the TPM keeps the passphrase and no server is asked")
	case k.Server == "" && (k.MDNS || k.Legacy || k.AnyServer || k.TLS.Any()):
		return fmt.Errorf("kairos: server is missing, and mdns, legacy, any-server, ca or pin is of one")
	case k.Server == "":
		return nil
	}
	return p.checkChallenger()
}

func (p *Plan) checkChallenger() error {
	k := p.Kairos
	u, err := endpoint.ParseChallenger(k.Server)
	switch {
	case err != nil:
		return fmt.Errorf("kairos: server is %.80q: %w", k.Server, err)
	case k.MDNS && !u.Local():
		return fmt.Errorf("kairos: server is %q: with mdns: true its host must end in .local", k.Server)
	case u.TLS && !k.TLS.Any():
		return fmt.Errorf("kairos: server is %q: ca: [FILE] or pin: [sha256//…] says how it is known", k.Server)
	case !u.TLS && k.TLS.Any():
		return fmt.Errorf("kairos: server is %q, and ca and pin are of one at https://", k.Server)
	}
	if err := k.TLS.check("kairos"); err != nil || u.TLS || k.AnyServer {
		return err
	}
	for i, v := range p.Volumes {
		if slices.Contains(v.Sources, SourceKairos) && v.Digest == "" {
			return fmt.Errorf("volumes[%d]: kairos over http:// takes a passphrase from whoever answers, so that a disk that was exchanged is opened, too: "+
				"pin the volume by digest: HEX (latchkey volume inspect DEVICE prints it), ask at https://, or say any-server: true", i)
		}
	}
	return nil
}

// describeKairos says what the source asks.
func describeKairos(p *Plan, s *Section) {
	k := p.Kairos
	if !p.lists(SourceKairos) {
		return
	}
	s.add("the image has the init with TLS, which alone has the source kairos")
	if k.Server == "" {
		return
	}
	where, how := "by DNS", "the new generation only"
	if k.MDNS {
		where = "by mDNS: _kcrypt._tcp"
	}
	if k.Legacy {
		how = "the older generation as well"
	}
	s.add("the server of Kairos' protocol is %s, found %s; it is asked in %s", k.Server, where, how)
	switch {
	case k.TLS.Any():
		s.add("it is known by %d certificate(s) or key(s)", len(k.TLS.CA)+len(k.TLS.Pins))
	case k.AnyServer:
		s.add("whoever answers on the network may give the passphrase (any-server)")
	}
}

// kairosWords says what opens a volume.
func kairosWords(k Kairos) string {
	if k.Server == "" {
		return fmt.Sprintf("the passphrase that the TPM keeps in NV index %#x", k.NVIndex)
	}
	return "the server of Kairos' protocol at " + k.Server
}
