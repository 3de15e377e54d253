package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server/tang"
)

// A File is a key as tang keeps it: in a file NAME.jwk, or .NAME.jwk if it is
// hidden.
type File struct {
	Hidden bool   `json:"hidden,omitempty"`
	JWK    []byte `json:"jwk"` // the file's text; in JSON as base64
}

// Files are some of them.
type Files struct {
	Files []File `json:"files"`
}

// An Imported is what became of a file.
type Imported struct {
	Thumbprint string `json:"thumbprint"`
	Action     string `json:"action"` // created or unchanged
}

// Import takes tang's key files, all or none, as keys of everybody.
func (k *Keeper) Import(ctx context.Context, files []File) (done []Imported, err error) {
	if len(files) == 0 {
		return nil, errors.New("the list of files is empty")
	}
	var all []tang.Private
	defer func() {
		for _, p := range all {
			p.D.Wipe()
		}
	}()
	for i, f := range files {
		p, err := tang.ParsePrivate(f.JWK)
		clear(f.JWK)
		if err != nil {
			return nil, fmt.Errorf("reading key %d: %w", i+1, err)
		}
		all = append(all, p)
	}
	err = k.c.Ledger.Update(ctx, func(t *ledger.Txn) error {
		done = nil
		for i, p := range all {
			action, err := k.importOne(ctx, t, p, files[i].Hidden)
			if err != nil {
				return err
			}
			done = append(done, Imported{p.Thumbprint(), action})
		}
		return k.room(t.View, "", 0)
	})
	return done, err
}

func (k *Keeper) importOne(ctx context.Context, t *ledger.Txn, p tang.Private, hidden bool) (action string, err error) {
	now := time.Now().UTC()
	row := key{Key: p.Key, Created: now, Imported: true}
	if hidden {
		row.Hidden = &now
	}
	var there key
	found, err := t.View.Load(k.rows.keys, row.at(), &there)
	if err != nil {
		return "", err
	}
	if found && there.Retired != nil {
		return "", fmt.Errorf("%w: key %s was retired here on %s", ledger.ErrRefused, p.Thumbprint(), there.Retired.Format("2006-01-02"))
	}
	if found {
		return "unchanged", nil
	}
	t.Bump()
	if err := k.rows.put(t, row, p.D); err != nil {
		return "", err
	}
	return "created", k.say(ctx, t, "tang import", "", "key "+p.Thumbprint())
}

// Export gives the keys of everybody, or of one client, as tang's files have
// them, those that are retired excepted. Clear them.
func (k *Keeper) Export(ctx context.Context, of string) (files []File, err error) {
	err = k.c.Ledger.Update(ctx, func(t *ledger.Txn) error {
		files = nil
		if err := k.there(t.View, of); err != nil {
			return err
		}
		err := k.rows.each(t.View, of, func(row key) error {
			if row.Retired != nil {
				return nil
			}
			p, found, err := k.rows.open(t.View, row)
			defer p.D.Wipe()
			if err != nil || !found {
				return err
			}
			text, err := p.File()
			files = append(files, File{row.Hidden != nil, text})
			return err
		})
		if err != nil {
			return err
		}
		return k.say(ctx, t, "tang export", of, fmt.Sprintf("%d keys, in clear", len(files)))
	})
	return files, err
}
