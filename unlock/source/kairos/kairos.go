// Package kairos asks a server of kcrypt-challenger's protocol for the
// passphrases of volumes, in both its generations, as Kairos' own client
// does: kcrypt-discovery-challenger.
//
// The passphrase travels unencrypted unless the connection is by TLS, and the
// quote has no nonce: lk1 is better at both.
package kairos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/endpoint"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/tpm"
)

// Codes of this package.
const (
	CodeSilent  = "kairos-silent"  // no server answered in the protocol: final when the time is over
	CodeWaiting = "kairos-waiting" // the server has nothing for this machine yet: final when the time is over
	CodeRefused = "kairos-refused" // the server refused: final
	CodeWrong   = "kairos-wrong"   // no keyslot takes what it gave: final
)

// A Request names a volume. At least one name is not empty.
type Request struct {
	Label string // of the partition
	Name  string // of the kernel's: vda5
	UUID  string
}

// A URL is challenger_server taken apart.
type URL = endpoint.Challenger

// ParseURL reads http://host[:port][/path], or https.
func ParseURL(s string) (URL, error) { return endpoint.ParseChallenger(s) }

// A Server is one that is asked.
type Server struct {
	URL URL
	// Connect makes a connection to it, by TLS if the URL says so.
	Connect func(ctx context.Context) (net.Conn, error)
}

// A TPM is what a machine proves itself by: tpm.Kairos, and a key in it that
// encrypts passphrases.
type TPM interface {
	SPKI() []byte
	AK() tpm.AttestationKey
	Renew(ctx context.Context) error
	Prove(ctx context.Context, credential, seed []byte) (secret.Bytes, kms.Quote, error)
	Decrypt(ctx context.Context, sealed []byte) (secret.Bytes, error)
}

// A Client asks a server. Its attempts share an attestation key as those of
// Kairos' client do, for as long as a server takes it again.
type Client struct {
	Server
	TPM TPM
	// Live says that this is an installer, whose boot state is not to be
	// learned.
	Live bool
	// Legacy allows the older exchange where the server has no other, or says
	// that only it has the passphrase. It shows no boot state.
	Legacy bool
	// Generate makes a passphrase where the older exchange leaves that to the
	// machine: Generator. It is for whoever is about to encrypt a disk, and not
	// linked into the init.
	Generate func(ctx context.Context, c *Client, r Request) error

	shown time.Time // when the attestation key was first shown; zero: not yet
	spent bool      // a legacy exchange has shown it
}

// keyFor is how long an attestation key is shown again. The key server takes
// one for ten minutes.
const keyFor = 5 * time.Minute

// Ask makes one attempt. What passes has the codes CodeSilent and CodeWaiting;
// asking again is of no use after CodeRefused.
func (c *Client) Ask(ctx context.Context, r Request) (secret.Bytes, error) {
	p, err := c.attest(ctx, r)
	if c.Legacy && (errors.Is(err, ErrNotThere) || errors.Is(err, errSealed)) {
		return c.askLegacy(ctx, r)
	}
	if errors.Is(err, ErrNotThere) {
		err = fmt.Errorf("it does not speak the protocol of Kairos, or only its older generation (%w)", err)
	}
	return p, c.failure(err)
}

// failure gives an error without a code that of silence.
func (c *Client) failure(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := codes.Find(err); ok {
		return fmt.Errorf("%s: %w", c.URL, err)
	}
	return codes.Fail(CodeSilent, "%s: %w", c.URL, err)
}

// freshen makes another attestation key if the last one is no longer taken.
func (c *Client) freshen(ctx context.Context) error {
	if c.spent || !c.shown.IsZero() && time.Since(c.shown) > keyFor {
		if err := c.TPM.Renew(ctx); err != nil {
			return err
		}
		c.spent, c.shown = false, time.Time{}
	}
	if c.shown.IsZero() {
		c.shown = time.Now()
	}
	return nil
}

// head are the lines of a request that name the volume: always all three.
func (r Request) head() ([]string, error) {
	var lines []string
	for _, h := range []struct{ name, value string }{{"Label", r.Label}, {"Name", r.Name}, {"Uuid", r.UUID}} {
		if strings.ContainsFunc(h.value, func(c rune) bool { return c < ' ' || c > '~' }) || len(h.value) > maxName {
			return nil, codes.Fail(CodeRefused, "the %s %.200q cannot be sent: want at most %d printable ASCII letters", strings.ToLower(h.name), h.value, maxName)
		}
		lines = append(lines, h.name+": "+h.value)
	}
	return lines, nil
}

// maxName is what the key server takes of a name, in bytes.
const maxName = 128

// errSealed is the new exchange's word that the passphrase was encrypted by
// this machine, in the older one.
var errSealed = errors.New("the passphrase was encrypted by this TPM")

// refusal is an error of the new exchange, which ends it for good.
func refusal(text string) error {
	if strings.Contains(text, errSealed.Error()[4:]) {
		return codes.Fail(CodeRefused, "%w: it is to be had by the older exchange, which is not allowed here", errSealed)
	}
	return codes.Fail(CodeRefused, "the server refuses: %.200q", text)
}

// noSecret is what the older exchange says when the machine is to make a
// passphrase, and noVolume when it is not known, or not yet.
const (
	noSecret = "No secret found"
	noVolume = "no volume found"
)

// errNoSecret is the older exchange's word that there is no passphrase yet.
var errNoSecret = errors.New("the server has no passphrase for this volume yet")

func legacyRefusal(text string) error {
	switch {
	case strings.Contains(text, noSecret):
		return codes.Fail(CodeWaiting, "%w", errNoSecret)
	case strings.Contains(text, noVolume):
		return codes.Fail(CodeWaiting, "the server has nothing for this machine: %.200q", text)
	}
	return codes.Fail(CodeRefused, "the server refuses: %.200q", text)
}
