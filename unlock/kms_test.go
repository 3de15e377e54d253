package unlock_test

import (
	"context"
	"errors"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock"
)

// unsealer unseals "sealed X" to X and nothing else.
type unsealer struct{ calls int }

var errForeign = errors.New("another TPM's")

func (u *unsealer) Unseal(_ context.Context, blob []byte) (secret.Bytes, error) {
	u.calls++
	if s, ok := cut(string(blob)); ok {
		return secret.Own([]byte(s)), nil
	}
	return secret.Bytes{}, errForeign
}

func cut(s string) (string, bool) {
	const prefix = "sealed "
	if len(s) < len(prefix) || s[:len(prefix)] != prefix {
		return "", false
	}
	return s[len(prefix):], true
}

func static(s string) kms.Material {
	return kms.Material{Kind: kms.Static, Secret: secret.Own([]byte(s))}
}

func bound(s string) kms.Material {
	return kms.Material{Kind: kms.Bound, Secret: secret.Own([]byte(s))}
}

func TestGranted(t *testing.T) {
	for _, row := range []struct {
		name           string
		active, staged kms.Material
		want           []string // staged ones have a star
		calls          int
		fails          bool
	}{
		{"static", static("a"), kms.Material{}, []string{"a"}, 0, false},
		{"automated", bound("sealed a"), kms.Material{}, []string{"a"}, 1, false},
		{"both, active first", bound("sealed a"), bound("sealed b"), []string{"a", "b*"}, 2, false},
		{"static on its way to automated", static("a"), bound("sealed b"), []string{"a", "b*"}, 1, false},
		{"staged of another TPM: the active one may still open", static("a"), bound("x"), []string{"a"}, 1, false},
		{"active of another TPM", bound("x"), kms.Material{}, nil, 1, true},
		{"nothing", kms.Material{}, kms.Material{}, nil, 0, false},
	} {
		var tpm unsealer
		all, err := unlock.Granted(ctx, kms.Granted{Active: row.active, Staged: row.staged}, &tpm)
		var got []string
		for _, c := range all {
			s := string(c.Passphrase.Reveal())
			if c.Staged {
				s += "*"
			}
			got = append(got, s)
		}

		same := len(got) == len(row.want)
		for i := range got {
			same = same && got[i] == row.want[i]
		}
		if !same || tpm.calls != row.calls || (err != nil) != row.fails || row.fails && !errors.Is(err, errForeign) {
			t.Errorf("%s: Granted = %q, %v with %d unseals, want %q", row.name, got, err, tpm.calls, row.want)
		}
	}
}

// Wanted is what the KMS is told of a volume: it names the header.
func TestWanted(t *testing.T) {
	v, _ := format(t)
	w, err := v.Wanted()
	if err != nil || w.UUID.String() != uuid || w.Digest != v.Header.SubsetDigest() || w.SeqID != v.Header.SeqID() {
		t.Errorf("Wanted = %+v, %v", w, err)
	}
}
