package cryptenroll

import (
	"encoding/json"
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
	if len(what) == 0 {
		what = []string{"any boot of this TPM"}
	}
	return Binding{t.digest(), strings.Join(what, ", and ")}
}

// Check says why a plan that allows these secrets does not open a volume by
// a token; nil if it does. The header of a volume that is pinned vouches for
// any of its tokens.
func Check(text json.RawMessage, allowed []string, pinned bool) error {
	t, err := parseToken(text)
	if err != nil {
		return err
	}
	return t.allowed(allowed, pinned)
}
