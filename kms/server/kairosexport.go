package server

import (
	"slices"

	"latchkey/internal/secret"
	"latchkey/kms/server/kairos"
)

// KairosDocuments are what a cluster has no document about, as Kairos'
// operator would write it back: a SealedVolume for each approved node that
// the operator or trust on first use let in. With secrets, also the
// passphrases that were made here, under the Secrets' default names: what
// writes those down in clear gives up what our records are sealed for. Wipe
// them.
func (s *Server) KairosDocuments(secrets bool) (*kairos.Documents, error) {
	out := &kairos.Documents{}
	err := s.read(func(v view) (err error) {
		var failed error
		err = v.kairosIn(tableKairosNodes, func(row kairosRow) {
			if row.State != stateApproved || failed != nil {
				return
			}
			out.Volumes = append(out.Volumes, row.unlisted()...)
			if secrets {
				failed = v.made(row, out)
			}
		})
		if err == nil {
			err = failed
		}
		return err
	})
	if err != nil {
		out.Wipe()
		return nil, err
	}

	return out, nil
}

// unlisted are a node's partitions that are in no document of a cluster, by
// the document that they belong to.
func (row *kairosRow) unlisted() (all []kairos.SealedVolume) {
	for _, p := range row.Partitions {
		if p.Removed || slices.ContainsFunc(row.Volumes, func(v kairosVolume) bool { return v.Name == p.Volume && v.Cluster }) {
			continue
		}
		i := slices.IndexFunc(all, func(v kairos.SealedVolume) bool { return v.Name == p.Volume })
		if i < 0 {
			i = len(all)
			all = append(all, kairos.SealedVolume{Name: p.Volume, Hash: row.Hash, Quarantined: slices.ContainsFunc(row.Volumes, func(v kairosVolume) bool {
				return v.Name == p.Volume && v.Quarantined
			})})
		}
		all[i].Partitions = append(all[i].Partitions, kairos.Partition{Label: p.Label, Device: p.Device, UUID: p.UUID, Secret: p.Secret, Key: p.Key})
	}
	return all
}

// made adds the passphrases that were generated for a node. One that a
// node's TPM encrypted is none.
func (v view) made(row kairosRow, out *kairos.Documents) error {
	for _, p := range row.Partitions {
		if p.Removed || p.Secret != "" || p.Label == "" {
			continue
		}
		kind, s, err := v.loadKairosSecret(ownSecret(row.Hash, p.ID))
		if err != nil {
			return err
		}

		if kind != kairosGenerated {
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
