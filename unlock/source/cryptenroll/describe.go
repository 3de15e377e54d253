package cryptenroll

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// A Binding is what a token of type systemd-tpm2 says, for people.
type Binding struct {
	// Sealed is the name of the sealed secret, for the plan; "" if the token
	// cannot be used.
	Sealed string `json:"sealed,omitempty"`
	What   string `json:"what"` // what it asks for, or why it cannot be used
}

// Describe reads a token for people.
func Describe(text json.RawMessage) Binding {
	t, err := parseToken(text)
	if err != nil {
		return Binding{What: "cannot be used: " + err.Error()}
	}
	var what []string
	if len(t.Signed) > 0 {
		what = append(what, fmt.Sprintf("PCRs %d (%s) signed by the key %.16s…", t.Signed, t.Bank, t.signer.fingerprint))
	}
	if len(t.PCRs) > 0 {
		what = append(what, fmt.Sprintf("PCRs %d (%s) as they were", t.PCRs, t.Bank))
	}
	if t.PIN {
		what = append(what, "a PIN (pin: true)")
	}
	if len(what) == 0 {
		what = []string{"any boot of this TPM"}
	}
	if t.Replaces != nil {
		what = append(what, fmt.Sprintf("in place of keyslot %d after a boot that used it", t.Replaces.Slot))
	}
	return Binding{t.digest(), strings.Join(what, ", and ")}
}

// Check says why a plan that allows these secrets does not open a volume by
// a token; nil if it does. The header of a volume that is pinned vouches for
// any of its tokens; pin says that a PIN may be asked for.
func Check(text json.RawMessage, allowed []string, pinned, pin bool) error {
	t, err := parseToken(text)
	if err != nil {
		return err
	}
	if t.PIN && !pin {
		return ErrAsks
	}
	return t.allowed(allowed, pinned)
}

// CheckSigner says why an image cannot open a volume by a token that wants
// signed PCRs: key is the public key, in PEM, that signs the image's PCR 11,
// empty if nothing does. A token that wants none is right with any image.
func CheckSigner(text json.RawMessage, key []byte) error {
	t, err := parseToken(text)
	switch {
	case err != nil || len(t.Signed) == 0:
		return err
	case len(key) == 0:
		return fmt.Errorf("it wants PCRs %d signed by the key %.16s…, and the image has no signature (--pcr-key)", t.Signed, t.signer.fingerprint)
	}
	s, err := ParseKey(key)
	if err != nil {
		return errors.New("the key that signs the image: " + err.Error())
	}
	if s.fingerprint != t.signer.fingerprint {
		return fmt.Errorf("it wants PCRs %d signed by the key %.16s…, and the image's are signed by %.16s…", t.Signed, t.signer.fingerprint, s.fingerprint)
	}
	return nil
}
