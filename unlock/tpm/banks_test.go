package tpm_test

import (
	"context"
	"crypto"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"latchkey/kms"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// The kernel tells which banks are on, by folders; where it does not, the TPM
// is asked. Every bank that is on is extended, and no other.
func TestBanksOfTheKernel(t *testing.T) {
	ctx := context.Background()
	for _, row := range []struct {
		name    string
		folders []string
		banks   []string
		sent    []string
	}{
		{"two of four", []string{"pcr-sha1", "pcr-sha256", "power", "tpm0"}, []string{"sha1", "sha256"}, []string{"PCR_Extend"}},
		{"a bank without a hash of ours", []string{"pcr-sha384", "pcr-sm3-256"}, []string{"sha384"}, []string{"PCR_Extend"}},
		{"an old kernel", []string{"power"}, []string{"sha1", "sha256", "sha384", "sha512"}, []string{"GetCapability", "PCR_Extend"}},
		{"nothing", nil, []string{"sha1", "sha256", "sha384", "sha512"}, []string{"GetCapability", "PCR_Extend"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			class := t.TempDir()
			for _, name := range row.folders {
				if err := os.Mkdir(filepath.Join(class, name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			wire := &bus{TPM: rawBus(t, tpmtest.Start(t))}
			dev := tpm.NewAt(wire, class)
			var extended []string
			if err := dev.Extend(ctx, 16, func(h crypto.Hash) []byte {
				extended = append(extended, map[crypto.Hash]string{crypto.SHA1: "sha1", crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"}[h])
				return make([]byte, h.Size())
			}); err != nil {
				t.Fatal(err)
			}
			banks, err := dev.Banks(ctx)
			if err != nil || !slices.Equal(banks, row.banks) || !slices.Equal(extended, row.banks) {
				t.Errorf("banks %q, extended %q, %v, want %q", banks, extended, err, row.banks)
			}
			if got := wire.commands(); !slices.Equal(got, row.sent) {
				t.Errorf("sent %q, want %q", got, row.sent)
			}
		})
	}
}

// PCRs that somebody else has read cost no command, and a wrong one is noticed
// by the quote: it is read, and not believed.
func TestKnownPCRs(t *testing.T) {
	ctx := context.Background()
	for _, row := range []struct {
		name  string
		value [32]byte
		want  []string
	}{
		{"true", [32]byte{}, []string{"StartAuthSession", "PolicySecret", "Quote"}},
		{"not true", [32]byte{1}, []string{"StartAuthSession", "PolicySecret", "Quote", "PCR_Read"}},
	} {
		wire := &bus{TPM: rawBus(t, tpmtest.Start(t))}
		id := identify(t, tpm.New(wire), tpm.Options{})
		id.Know([]kms.PCR{{Index: 11, Value: row.value}, {Index: 15}})
		wire.sent = nil
		if err := id.Prepare(ctx, []int{11, 15}); err != nil {
			t.Fatal(err)
		}
		q, err := id.Quote(ctx, []int{11, 15}, nil)
		if err != nil || len(q.PCRs) != 2 || q.PCRs[0].Value != [32]byte{} {
			t.Errorf("%s: Quote = %+v, %v, want PCR 11 as it is", row.name, q.PCRs, err)
		}
		if got := wire.commands(); !slices.Equal(got, row.want) {
			t.Errorf("%s: sent %q, want %q", row.name, got, row.want)
		}
	}
}
