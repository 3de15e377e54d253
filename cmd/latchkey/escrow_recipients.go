package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/internal/escrow"
)

// defaultRecipients pins, in the machine's own root, whom its recovery keys are
// sealed to: a line for each recipient of age. Who has the key server cannot
// change it.
const defaultRecipients = "/etc/latchkey/recovery.recipients"

// pinnedRecipients are those of the file; none if there is no file.
func pinnedRecipients(path string) (to []string, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading whom recovery keys are sealed to: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			to = append(to, line)
		}
	}
	if len(to) == 0 {
		return nil, fmt.Errorf("%s names no recipient: remove it, or write one of age's into it", path)
	}
	return to, nil
}

// agreeOn says whom to seal to. The key server names the owner's recipients;
// the first time this machine is told them, it pins them in the file, and from
// then on the key server's must be the same: who takes it over would else have
// the next recovery key sealed to himself.
func agreeOn(path string, named []string, say func(format string, args ...any)) ([]string, error) {
	if len(named) == 0 {
		return nil, errors.New("the key server keeps no recovery keys: its kms.yaml names nobody to seal them to (recovery.recipients)")
	}
	if _, err := escrow.Recipients(named); err != nil {
		return nil, fmt.Errorf("the key server's recipients of recovery keys: %w", err)
	}
	pinned, err := pinnedRecipients(path)
	if err != nil {
		return nil, err
	}
	if pinned == nil {
		say("recovery keys of this machine are sealed to these, from now on (%s):\n  %s", path, strings.Join(named, "\n  "))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		return named, datafile.Write(path, []byte(strings.Join(named, "\n")+"\n"))
	}
	if !slices.Equal(slices.Sorted(slices.Values(pinned)), slices.Sorted(slices.Values(named))) {
		return nil, &cli.Exit{Code: cli.Refused, Err: fmt.Errorf("the key server wants recovery keys sealed to others than %s says: nothing was sealed; it names %s (if the owner changed them, write these into that file, a line for each; if not, somebody else has the key server)", path, strings.Join(named, ", "))}
	}
	return named, nil
}
