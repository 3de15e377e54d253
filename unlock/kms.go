package unlock

import (
	"context"
	"fmt"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// An Unsealer gives back what is sealed to this machine's TPM.
type Unsealer interface {
	Unseal(ctx context.Context, blob []byte) (secret.Bytes, error)
}

// Granted makes candidates of what the KMS granted for one volume: the
// active secret first, then the one that a rotation has staged. Blobs
// that only this TPM can read are unsealed on the way.
func Granted(ctx context.Context, g kms.Granted, tpm Unsealer) ([]Candidate, error) {
	var all []Candidate
	for _, m := range []struct {
		kms.Material
		staged bool
	}{{g.Active, false}, {g.Staged, true}} {
		switch m.Kind {
		case kms.Static, kms.Pushed:
			all = append(all, Candidate{Passphrase: m.Secret, Staged: m.staged})
		case kms.Bound:
			s, err := tpm.Unseal(ctx, m.Secret.Reveal())
			if err != nil {
				if m.staged && len(all) > 0 {
					continue // the active one may still open it
				}
				return nil, fmt.Errorf("unsealing the key of volume %s: %w", g.UUID, err)
			}
			all = append(all, Candidate{Passphrase: s, Staged: m.staged})
		}
	}
	return all, nil
}

// Wanted is what the KMS is told of a volume.
func (v *Volume) Wanted() (kms.Want, error) {
	uuid, err := kms.ParseUUID(v.Header.UUID())
	if err != nil {
		return kms.Want{}, err
	}
	return kms.Want{UUID: uuid, Digest: v.Header.SubsetDigest(), SeqID: v.Header.SeqID()}, nil
}
