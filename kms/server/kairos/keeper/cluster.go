package keeper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/kairos"
)

// Sync makes what the KMS knows of the nodes of Kairos follow the
// documents of a cluster: all that there are. A passphrase that was replaced
// there is replaced here; a SealedVolume that is gone counts as quarantined
// until it is back. What cannot be taken is in the error, beside what was
// done. It writes nothing if nothing has changed, so that replicas may all
// do it.
func (k *Keeper) Sync(ctx context.Context, d *kairos.Documents) (done []Applied, err error) {
	var todo []clusterChange
	var wrong []error
	err = k.read(func(v view) (err error) {
		todo, wrong, err = v.clusterChanges(d)
		return err
	})
	if err != nil {
		return nil, err
	}

	for _, c := range todo {
		one, err := k.syncOne(ctx, c)
		if err != nil {
			wrong = append(wrong, err)
		} else if one.Action != "" {
			done = append(done, one)
		}
	}

	return done, errors.Join(wrong...)
}

// A clusterChange is one document to take, or the name of one that is gone.
type clusterChange struct {
	secret *kairos.Secret
	volume *kairos.SealedVolume
	gone   string
	hash   kms.NodeID // whose document is gone
}

// clusterChanges compares all documents with what is known.
func (v view) clusterChanges(d *kairos.Documents) (todo []clusterChange, wrong []error, err error) {
	names, err := v.volumeNames()
	if err != nil {
		return nil, nil, err
	}

	for i := range d.Secrets {
		differs, err := v.secretDiffers(&d.Secrets[i])
		if err != nil {
			return nil, nil, err
		}
		if differs {
			todo = append(todo, clusterChange{secret: &d.Secrets[i]})
		}
	}

	there := map[string]bool{}
	for i := range d.Volumes {
		one := &d.Volumes[i]
		there[one.Name] = true
		if other, taken := names[one.Name]; taken && other != one.Hash {
			wrong = append(wrong, fmt.Errorf("SealedVolume %s: %w: it names TPMHash %s, and is known as %s's; delete that node first", one.Name, ledger.ErrRefused, one.Hash, other))
			continue
		}

		differs, err := v.volumeDiffers(one)
		if errors.Is(err, ledger.ErrRefused) {
			wrong = append(wrong, err)
		} else if err != nil {
			return nil, nil, err
		}

		if differs {
			todo = append(todo, clusterChange{volume: one})
		}
	}

	err = v.k.fleet.Known(v.View, func(row machine) error {
		for _, known := range row.Volumes {
			if known.Cluster && !known.Gone && !there[known.Name] && row.State != fleet.Deleted {
				todo = append(todo, clusterChange{gone: known.Name, hash: row.Hash})
			}
		}
		return nil
	})

	return todo, wrong, err
}

func (v view) secretDiffers(d *kairos.Secret) (bool, error) {
	for _, key := range slices.Sorted(maps.Keys(d.Data)) {
		kind, old, err := v.loadSecret(secretName(d.Name, key))
		if err != nil {
			return false, err
		}
		same := kind != 0 && old.Equal(d.Data[key])
		old.Wipe()
		if !same {
			return true, nil
		}
	}
	return false, nil
}

// volumeDiffers applies a document to a copy of its row.
func (v view) volumeDiffers(d *kairos.SealedVolume) (bool, error) {
	row, found, err := v.node(d.Hash)
	if err != nil || !found {
		return !found, err
	}

	if row.State == fleet.Deleted {
		return false, fmt.Errorf("SealedVolume %s: %w: TPMHash %s was deleted, and stays refused until kairos undelete lets it ask again", d.Name, ledger.ErrRefused, d.Hash)
	}
	before, err := row.canonical()
	if err != nil {
		return false, err
	}

	var next machine
	if err := json.Unmarshal(before, &next); err != nil {
		return false, err
	}

	next.State = fleet.Approved
	next.document(*d)
	next.merge(*d)
	next.ofCluster(d.Name)
	after, err := next.canonical()
	return !bytes.Equal(before, after), err
}

// canonical is a row with its partitions by document: merging a document
// puts its own last, and that is no change.
func (row machine) canonical() ([]byte, error) {
	row.Partitions = slices.Clone(row.Partitions)
	slices.SortStableFunc(row.Partitions, func(a, b partition) int { return strings.Compare(a.Volume, b.Volume) })
	return json.Marshal(row)
}

// ofCluster marks a document as one that a cluster has.
func (row *machine) ofCluster(name string) {
	for i := range row.Volumes {
		if row.Volumes[i].Name == name {
			row.Volumes[i].Cluster = true
		}
	}
}

// syncOne takes one change, if another replica has not.
func (k *Keeper) syncOne(ctx context.Context, c clusterChange) (done Applied, err error) {
	err = k.update(ctx, func(t *txn) (err error) {
		if done, err = t.syncOne(c); err != nil || done.Action == "" {
			return err
		}
		return t.Note(ledger.Event{Event: "kairos sync", From: "cluster", Detail: done.Kind + " " + done.Name + " " + done.Action})
	})
	return done, err
}

func (t *txn) syncOne(c clusterChange) (done Applied, err error) {
	switch {
	case c.secret != nil:
		differs, err := t.secretDiffers(c.secret)
		if err != nil || !differs {
			return done, err
		}
		action, err := t.applySecret(*c.secret, true)
		return Applied{"Secret", c.secret.Name, action}, err
	case c.volume != nil:
		return t.syncVolume(*c.volume)
	}

	row, found, err := t.node(c.hash)
	if err != nil || !found {
		return done, err
	}

	for i := range row.Volumes {
		if row.Volumes[i].Name == c.gone && !row.Volumes[i].Gone {
			row.Volumes[i].Gone = true
			done = Applied{"SealedVolume", c.gone, "gone: quarantined"}
		}
	}

	if done.Action == "" {
		return done, nil
	}
	t.Bump()
	return done, t.saveNode(row)
}

func (t *txn) syncVolume(d kairos.SealedVolume) (done Applied, err error) {
	differs, err := t.volumeDiffers(&d)
	if err != nil || !differs {
		return done, err
	}
	action, err := t.applyVolume(d)
	if err != nil {
		return done, err
	}
	row, _, err := t.node(d.Hash)
	if err != nil {
		return done, err
	}
	row.ofCluster(d.Name)
	return Applied{"SealedVolume", d.Name, action}, t.saveNode(row)
}
