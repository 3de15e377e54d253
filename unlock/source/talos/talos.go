// Package talos is the sources of keys that Talos Linux gave its disks: what a
// KMS or the TPM sealed, and the identity of the machine.
package talos

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source"
)

// Codes of this package.
const (
	CodeToken   = "talos-token"       // no token that can be used: final
	CodeSilent  = "talos-kms-silent"  // no KMS answered in time: final
	CodeRefused = "talos-kms-refused" // the KMS gives nothing to this machine: final
	CodeNode    = "talos-node"        // the machine has no UUID that names it: final
)

// A way is one token's to one volume.
type way struct {
	volume *unlock.Volume
	token  luks2.Token
}

// run opens each closed volume by the first of its tokens of a type that gives
// the key, all volumes at once. Its error is why those that the boot waits for
// stay closed.
func run(ctx context.Context, to source.Opener, kind string, key func(context.Context, way) (secret.Bytes, error)) error {
	volumes := to.Closed()
	errs := make([]error, len(volumes))
	var wg sync.WaitGroup
	for i, v := range volumes {
		wg.Go(func() {
			if err := volume(ctx, to, v, kind, key); err != nil && to.Needed(v) {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func volume(ctx context.Context, to source.Opener, v *unlock.Volume, kind string, key func(context.Context, way) (secret.Bytes, error)) error {
	tokens := tokensOf(v.Header, kind)
	if len(tokens) == 0 {
		return notMine(ctx, to, v, "has no token of type "+kind)
	}
	var errs []error
	for _, t := range tokens { // in the order of keyslots, as Talos tries them
		raw, err := key(ctx, way{v, t})
		if err == nil {
			err = try(ctx, to, v, encoded(raw), t.ID)
			raw.Wipe()
		}
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("volume %s, token %d: %w", v.Name, t.ID, err))
	}
	return errors.Join(errs...)
}

func notMine(ctx context.Context, to source.Opener, v *unlock.Volume, why string) error {
	err := fmt.Errorf("volume %s %s: %w", v.Name, why, source.ErrNotMine)
	to.Try(ctx, source.Offer{Keys: []source.Key{{Volume: v, Err: err}}})
	return err
}

// try tries a passphrase on keyslots. It wipes it.
func try(ctx context.Context, to source.Opener, v *unlock.Volume, passphrase secret.Bytes, slots ...int) error {
	defer passphrase.Wipe()
	return to.Try(ctx, source.Offer{Keys: []source.Key{{Volume: v, Passphrases: func(context.Context) ([]unlock.Candidate, error) {
		return []unlock.Candidate{{Passphrase: passphrase.Clone(), Slots: slots}}, nil
	}}}})[0]
}

// encoded is the passphrase that Talos makes of a key: its base64.
func encoded(raw secret.Bytes) secret.Bytes {
	text := secret.Make(base64.StdEncoding.EncodedLen(raw.Len()))
	base64.StdEncoding.Encode(text.Reveal(), raw.Reveal())
	return text
}

// A NodeID opens volumes by the identity of the machine, which is no secret:
// Talos' keys of the kind nodeID.
type NodeID struct {
	// UUID is the machine's, as SMBIOS has it.
	UUID func() (string, error)
	// Label is what Talos calls a volume: STATE, EPHEMERAL, u-NAME. "" is one
	// that this is not for.
	Label func(v *unlock.Volume) string
}

// Run implements source.Source.
func (n *NodeID) Run(ctx context.Context, to source.Opener) error {
	uuid, err := n.UUID()
	if err == nil {
		err = checkUUID(uuid)
	}
	if err != nil {
		return codes.Fail(CodeNode, "%w", err)
	}
	var errs []error
	for _, v := range to.Closed() {
		if err := n.volume(ctx, to, v, uuid); err != nil && to.Needed(v) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// volume tries the keyslots that no token of Talos is for.
func (n *NodeID) volume(ctx context.Context, to source.Opener, v *unlock.Volume, uuid string) error {
	var slots []int
	for _, k := range v.Header.Keyslots() {
		if !slices.ContainsFunc(v.Header.Tokens(), func(t luks2.Token) bool { return t.ID == k.ID && (t.Type == TokenKMS || t.Type == TokenTPM) }) {
			slots = append(slots, k.ID)
		}
	}
	if len(slots) == 0 {
		return notMine(ctx, to, v, "has no keyslot without a token of Talos")
	}
	// internal/pkg/encryption/keys/nodeid.go of Talos: nothing stands between.
	return try(ctx, to, v, secret.Own([]byte(uuid+n.Label(v))), slots...)
}

// checkUUID is the check of Talos' nodeid.go: boards whose maker has set none
// have one digit, or nearly so.
func checkUUID(uuid string) error {
	for _, c := range uuid {
		if strings.Count(uuid, string(c)) > len(uuid)/2 {
			return fmt.Errorf("the UUID of this machine is %.40q, which names no machine", uuid)
		}
	}
	if uuid == "" {
		return errors.New("this machine has no UUID (SMBIOS)")
	}
	return nil
}
