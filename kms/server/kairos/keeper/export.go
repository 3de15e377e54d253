package keeper

import (
	"slices"

	"latchkey/internal/secret"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/kairos"
)

// Documents are what a cluster has no document about, as Kairos'
// operator would write it back: a SealedVolume for each approved node that
// the operator or trust on first use let in. With secrets, also the
// passphrases that were made here, under the Secrets' default names: what
// writes those down in clear gives up what our records are sealed for. Wipe
// them.
func (k *Keeper) Documents(secrets bool) (*kairos.Documents, error) {
	out := &kairos.Documents{}
	err := k.read(func(v view) error {
		return k.fleet.Known(v.View, func(row machine) error {
			if row.State != fleet.Approved {
				return nil
			}
			out.Volumes = append(out.Volumes, row.unlisted()...)
			if secrets {
				return v.made(row, out)
			}
			return nil
		})
	})
	if err != nil {
		out.Wipe()
		return nil, err
	}

	return out, nil
}

// unlisted are a node's partitions that are in no document of a cluster, by
// the document that they belong to.
func (row *machine) unlisted() (all []kairos.SealedVolume) {
	for _, p := range row.Partitions {
		if p.Removed || slices.ContainsFunc(row.Volumes, func(v volumeDoc) bool { return v.Name == p.Volume && v.Cluster }) {
			continue
		}
		i := slices.IndexFunc(all, func(v kairos.SealedVolume) bool { return v.Name == p.Volume })
		if i < 0 {
			i = len(all)
			all = append(all, kairos.SealedVolume{Name: p.Volume, Hash: row.Hash, Quarantined: slices.ContainsFunc(row.Volumes, func(v volumeDoc) bool {
				return v.Name == p.Volume && v.Quarantined
			})})
		}
		all[i].Partitions = append(all[i].Partitions, kairos.Partition{Label: p.Label, Device: p.Device, UUID: p.UUID, Secret: p.Secret, Key: p.Key})
	}
	return all
}

// made adds the passphrases that were generated for a node. One that a
// node's TPM encrypted is none.
func (v view) made(row machine, out *kairos.Documents) error {
	for _, p := range row.Partitions {
		if p.Removed || p.Secret != "" || p.Label == "" {
			continue
		}
		kind, s, err := v.loadSecret(ownSecret(row.Hash, p.ID))
		if err != nil {
			return err
		}

		if kind != kindGenerated {
			s.Wipe()
			continue
		}

		key := p.Key
		if key == "" {
			key = kairos.DefaultKey
		}
		out.Secrets = append(out.Secrets, kairos.Secret{Name: kairos.DefaultSecret(p.Volume, p.Label), Data: map[string]secret.Bytes{key: s}})
	}
	return nil
}
