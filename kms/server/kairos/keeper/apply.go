package keeper

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/kairos"
)

// An Applied says what became of one document.
type Applied struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Action string `json:"action"` // created, configured or unchanged
}

// Apply takes a file of SealedVolume and Secret documents: all or
// none of them. A passphrase that is there is only replaced if replace is
// set: a disk may need the old one.
func (k *Keeper) Apply(ctx context.Context, file []byte, replace bool) (done []Applied, err error) {
	documents, err := kairos.ParseDocuments(file)
	if err != nil {
		return nil, err
	}
	defer documents.Wipe()

	err = k.update(ctx, func(t *txn) error {
		done = nil
		names, err := t.volumeNames()
		if err != nil {
			return err
		}

		for _, d := range documents.Secrets {
			action, err := t.applySecret(d, replace)
			if err != nil {
				return err
			}
			done = append(done, Applied{"Secret", d.Name, action})
		}

		for _, d := range documents.Volumes {
			if other, taken := names[d.Name]; taken && other != d.Hash {
				return fmt.Errorf("applying SealedVolume %s: %w: it is TPMHash %s's; delete that node first", d.Name, ledger.ErrRefused, other)
			}
			action, err := t.applyVolume(d)
			if err != nil {
				return err
			}
			names[d.Name] = d.Hash
			done = append(done, Applied{"SealedVolume", d.Name, action})
		}

		var detail []string
		for _, a := range done {
			detail = append(detail, a.Kind+" "+a.Name+" "+a.Action)
		}
		return t.Note(ledger.Event{Event: "kairos apply", From: ledger.Who(ctx), Detail: strings.Join(detail, "; ")})
	})

	return done, err
}

func (t *txn) applySecret(d kairos.Secret, replace bool) (action string, err error) {
	action = "unchanged"
	for _, key := range slices.Sorted(maps.Keys(d.Data)) {
		at, value := secretName(d.Name, key), d.Data[key]
		kind, old, err := t.loadSecret(at)
		if err != nil {
			return "", err
		}

		same := kind != 0 && old.Equal(value)
		old.Wipe()
		switch {
		case same:
			continue
		case kind == 0 && action == "unchanged":
			action = "created"
		case kind != 0 && !replace:
			return "", fmt.Errorf("applying Secret %s: %w: key %.64q has another value; a disk may need it (see --replace)", d.Name, ledger.ErrRefused, key)
		case kind != 0:
			action = "configured"
		}

		if err := t.putSecret(at, kindStatic, value); err != nil {
			return "", err
		}
	}
	return action, nil
}

// applyVolume is also how a node is approved that never asked.
func (t *txn) applyVolume(d kairos.SealedVolume) (string, error) {
	row, found, err := t.node(d.Hash)
	if err != nil {
		return "", err
	}

	if row.State == fleet.Deleted {
		return "", fmt.Errorf("applying SealedVolume %s: %w: TPMHash %s was deleted, and stays refused until kairos undelete lets it ask again", d.Name, ledger.ErrRefused, d.Hash)
	}
	t.Bump()
	if !found {
		row = machine{Hash: d.Hash, First: time.Now().UTC()}
	}

	row.State = fleet.Approved
	known := row.document(d)
	row.merge(d)
	if len(row.Partitions) > maxPartitions {
		return "", fmt.Errorf("applying SealedVolume %s: %w: more than %d partitions for one TPM", d.Name, ledger.ErrRefused, maxPartitions)
	}

	if err := t.saveNode(row); err != nil {
		return "", err
	}
	if known {
		return "configured", nil
	}

	return "created", nil
}

// volumeNames: a name is one TPM's. Passphrases of the default name are
// found by it.
func (v view) volumeNames() (map[string]kms.NodeID, error) {
	names := map[string]kms.NodeID{}
	err := v.k.fleet.Known(v.View, func(row machine) error {
		for _, d := range row.Volumes {
			if row.State != fleet.Deleted {
				names[d.Name] = row.Hash
			}
		}
		return nil
	})
	return names, err
}

// document keeps what is said of quarantine and boot state. What was learnt
// stays unless this says something else than it said before: applying a
// file again must not forget, nor a second document about the same TPM. It
// tells whether the document was known.
func (row *machine) document(d kairos.SealedVolume) (known bool) {
	now := volumeDoc{Name: d.Name, Quarantined: d.Quarantined, PCRs: d.PCRs}
	i := slices.IndexFunc(row.Volumes, func(v volumeDoc) bool { return v.Name == d.Name })
	if i >= 0 && d.PCRs != nil && (row.Volumes[i].PCRs == nil || !maps.Equal(row.Volumes[i].PCRs, d.PCRs)) {
		row.PCRs = maps.Clone(d.PCRs)
	}
	if i < 0 {
		row.alsoPin(d.PCRs)
		row.Volumes = append(row.Volumes, now)
		return false
	}
	row.Volumes[i] = now
	return true
}

// alsoPin adds what a new document says to what is pinned already.
func (row *machine) alsoPin(pcrs map[string]string) {
	if pcrs != nil && row.PCRs == nil {
		row.PCRs = map[string]string{}
	}
	for index, value := range pcrs {
		if value != "" || row.PCRs[index] == "" {
			row.PCRs[index] = value
		}
	}
}

// merge brings a document's partitions in, in its order. One that was there
// keeps its id, and so its secret; one that went is kept aside.
func (row *machine) merge(d kairos.SealedVolume) {
	before := row.Partitions
	var written []partition
	for _, p := range d.Partitions {
		next := partition{ID: newPartitionID(), Volume: d.Name, Label: p.Label, Device: p.Device, UUID: p.UUID, Secret: p.Secret, Key: p.Key, Written: true}
		if i := slices.IndexFunc(before, next.same); i >= 0 {
			next.ID = before[i].ID
			before = slices.Delete(slices.Clone(before), i, i+1)
		}
		written = append(written, next)
	}

	var rest, gone []partition
	for _, p := range before {
		if p.Removed = p.Removed || p.Written && p.Volume == d.Name; p.Removed {
			gone = append(gone, p)
		} else {
			rest = append(rest, p)
		}
	}

	row.Partitions = slices.Concat(rest, written, gone)
}

// same: one volume by its label, else its UUID, else by the kernel's name,
// which changes and so counts last.
func (p partition) same(o partition) bool {
	switch {
	case p.Label != "" && o.Label != "":
		return p.Label == o.Label
	case p.UUID != "" && o.UUID != "":
		return p.UUID == o.UUID
	}
	return p.Device != "" && p.Device == o.Device
}
