package talos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/internal/unary"
	"latchkey/unlock/source"
)

// KeyBytes is the length of what a KMS has sealed.
const KeyBytes = 32

// MaxReply is the longest answer, in bytes: its message has 34.
const MaxReply = 4 << 10

// Method is the call that gives it back: sidero.kms of kms-client v0.2.0.
const Method = "/sidero.kms.KMSService/Unseal"

// A KMS opens volumes by their tokens of type sideroKMS.
type KMS struct {
	// URLs are those that may be asked: http:// in the clear, or https://. The
	// tokens name none.
	URLs []string
	// Allowed are the names of what may be used, as Describe tells them. A
	// volume whose header is pinned needs none.
	Allowed []string
	// UUID is the machine's, as SMBIOS has it.
	UUID func() (string, error)
	// Wait is how long servers are asked; 0 is for ever.
	Wait time.Duration
	Asker
}

// An Asker asks servers.
type Asker interface {
	// Ask calls a method of the server at a URL, at each of the host's
	// addresses, until take takes an answer or ctx ends. Its error wraps a
	// *unary.Status if that is how the server answered last.
	Ask(ctx context.Context, url, method string, request []byte, take func(reply []byte) error) error
}

// Run implements source.Source.
func (k *KMS) Run(ctx context.Context, to source.Opener) error {
	if k.Wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, k.Wait)
		defer cancel()
	}
	uuid := sync.OnceValues(k.UUID)
	return run(ctx, to, TokenKMS, func(ctx context.Context, w way) (secret.Bytes, error) {
		t, err := parseToken(TokenKMS, w.token.JSON)
		if err == nil {
			err = t.allowed(k.Allowed, len(w.volume.Digest) > 0)
		}
		if err != nil {
			return secret.Bytes{}, codes.Fail(CodeToken, "%w", err)
		}
		node, err := uuid()
		if err != nil {
			return secret.Bytes{}, codes.Fail(CodeNode, "%w", err)
		}
		return k.unseal(ctx, request(node, t.blob))
	})
}

// unseal asks all servers at once. The first that answers counts: what it
// says is the key, or opens nothing.
func (k *KMS) unseal(ctx context.Context, request []byte) (secret.Bytes, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		key secret.Bytes
		err error
	}
	results := make(chan result)
	for _, url := range k.URLs {
		go func() {
			var key secret.Bytes
			err := k.Ask(ctx, url, Method, request, func(reply []byte) (err error) {
				key, err = response(reply)
				return err
			})
			if err != nil {
				err = failed(url, err)
			}
			results <- result{key, err}
		}()
	}
	var errs []error
	var key secret.Bytes
	for range k.URLs {
		r := <-results
		switch {
		case r.err != nil:
			errs = append(errs, r.err)
		case key.Len() == 0:
			key = r.key
			cancel()
		default:
			r.key.Wipe()
		}
	}
	if key.Len() > 0 {
		return key, nil
	}
	return secret.Bytes{}, errors.Join(errs...)
}

func failed(url string, err error) error {
	return codes.Fail(Code(err), "Talos KMS %s: %w", url, err)
}

// Code is that of how a server answered: whoever decides so is not silent.
func Code(err error) string {
	if s, ok := errors.AsType[*unary.Status](err); ok && s.Code != unary.Unavailable {
		return CodeRefused
	}
	return CodeSilent
}

// request is the message sidero.kms.Request: node_uuid = 1, data = 2.
func request(node string, data []byte) []byte {
	return field(field(nil, 1, []byte(node)), 2, data)
}

// field appends a field of bytes: its number, wire type 2 (LEN), its length
// as a varint, and the bytes.
func field(out []byte, number byte, value []byte) []byte {
	out = append(out, number<<3|2)
	n := len(value)
	for ; n >= 0x80; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(append(out, byte(n)), value...)
}

// response is the message sidero.kms.Response: data = 1, here of KeyBytes.
// Other fields are from a later protocol.
func response(reply []byte) (secret.Bytes, error) {
	if len(reply) != 2+KeyBytes || reply[0] != 1<<3|2 || reply[1] != KeyBytes {
		return secret.Bytes{}, fmt.Errorf("the answer of %d bytes is not a key of %d", len(reply), KeyBytes)
	}
	key := secret.Make(KeyBytes)
	copy(key.Reveal(), reply[2:])
	clear(reply)
	return key, nil
}

// A Binding is what a token of Talos says, for people.
type Binding struct {
	// Sealed is the name of what is sealed, for the plan; "" if the token
	// cannot be used.
	Sealed string `json:"sealed,omitempty"`
	What   string `json:"what"` // what it asks for, or why it cannot be used
}

// Describe reads a token for people; ok is false for one of another type.
func Describe(kind string, text json.RawMessage) (b Binding, ok bool) {
	if kind != TokenKMS && kind != TokenTPM {
		return b, false
	}
	t, err := parseToken(kind, text)
	switch {
	case err != nil:
		return Binding{What: "cannot be used: " + err.Error()}, true
	case kind == TokenKMS:
		return Binding{t.digest(), fmt.Sprintf("%d bytes that a KMS of Talos sealed for this machine", len(t.blob))}, true
	}
	what := fmt.Sprintf("PCRs %d (sha256) as they were, and %d signed", t.User.PCRs, t.User.Signed)
	return Binding{t.digest(), what}, true
}

// Check says why a plan that allows these does not open a volume by a token;
// nil if it does.
func Check(kind string, text json.RawMessage, allowed []string, pinned bool) error {
	t, err := parseToken(kind, text)
	if err != nil {
		return err
	}
	return t.allowed(allowed, pinned)
}
