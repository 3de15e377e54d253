package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/backup"
	"latchkey/kms/config"
	"latchkey/kms/wrapping"
)

// A handout is how new shares of the wrapping key come to people.
type handout struct {
	dir        string   // "" prints them
	recipients []string // of age, one for each share

	to   []age.Recipient
	json bool // standard output is for that
}

// check judges it before anything is made.
func (h *handout) check(to *config.Wrapping, out *output) error {
	h.json = out.json
	if to.Shares != "" {
		_, of, err := to.ShareNumbers()
		if err != nil {
			return cli.Usagef("--to-shares: %w", err)
		}
		if n := len(h.recipients); n > 0 && n != of {
			return cli.Usagef("--age: there are %d shares and %d recipients", of, n)
		}
	}
	if h.dir == "" && (len(h.recipients) > 0 || out.json && to.Shares != "") {
		return cli.Usagef("--age and --json need --shares-dir: what is printed is for people")
	}
	for _, text := range h.recipients {
		one, err := backup.ParseRecipient(text)
		if err != nil {
			return cli.Usagef("--age: %w", err)
		}
		h.to = append(h.to, one)
	}
	return nil
}

// give hands shares out before anything depends on them.
func (h *handout) give(c *cobra.Command, all []wrapping.Share) error {
	if h.dir == "" && nowhere(os.Stdout) {
		return errors.New("the shares would be written to nowhere (the standard output is closed, or /dev/null): name a folder for them: --shares-dir")
	}
	if len(h.to) > 0 && len(h.to) != len(all) {
		return fmt.Errorf("there are %d shares and %d recipients of --age", len(all), len(h.to))
	}
	for i, s := range all {
		name := fmt.Sprintf("share %d of %d, %d give the key (set %s)", s.Number, len(all), s.Needed, s.Set)
		if h.dir == "" {
			if _, err := fmt.Fprintf(c.OutOrStdout(), "%s:\n%s\n", name, s.Text()); err != nil {
				return err
			}
			continue
		}
		path := filepath.Join(h.dir, fmt.Sprintf("share-%d-of-%d-%s", s.Number, len(all), s.Set))
		text := []byte(s.Text() + "\n")
		if len(h.to) > 0 {
			var err error
			if text, err = encrypt(text, h.to[i]); err != nil {
				return err
			}
			path += ".age"
		}
		if err := writeNew(path, text); err != nil {
			return err
		}
		said := c.OutOrStdout()
		if h.json {
			said = c.ErrOrStderr()
		}
		fmt.Fprintf(said, "%s: %s\n", name, path)
	}
	return nil
}

// nowhere tells whether output is lost. Go opens /dev/null where the standard
// output is closed.
func nowhere(f *os.File) bool {
	null, err := os.Stat(os.DevNull)
	if err != nil {
		return false
	}
	out, err := f.Stat()
	return err != nil || os.SameFile(out, null)
}

// encrypt encrypts a share to one person, as text.
func encrypt(text []byte, to age.Recipient) ([]byte, error) {
	var b bytes.Buffer
	armored := armor.NewWriter(&b)
	w, err := age.Encrypt(armored, to)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := armored.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// writeNew writes a file that is not there yet, for its owner alone.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}
