package operator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/datafile"
	"latchkey/kms/server/tang"
	tangkeeper "latchkey/kms/server/tang/keeper"
)

// maxTangKey bounds one of tang's key files, in bytes. They have 350.
const maxTangKey = 16 << 10

// ReadTang reads the keys that tangd has in a directory: all files that end
// in .jwk, hidden ones too. It takes them as tangd does, but a file that it
// would pass over with a word in its log is an error here.
func ReadTang(dir string) (files []tangkeeper.File, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading tang's keys: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".jwk") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		text, err := datafile.Read(path, maxTangKey)
		if err != nil {
			return nil, fmt.Errorf("reading tang's keys: %w", err)
		}
		p, err := tang.ParsePrivate(text)
		p.D.Wipe()
		if err != nil {
			return nil, fmt.Errorf("reading the key %s: %w", path, err)
		}
		files = append(files, tangkeeper.File{Hidden: strings.HasPrefix(e.Name(), "."), JWK: text})
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("reading tang's keys: %s has no files that end in .jwk", dir)
	}
	return files, nil
}

// WriteTang writes keys into a directory, which it makes, as tangd has them
// there. A directory that has keys is refused: tangd would serve them, too.
func WriteTang(dir string, files []tangkeeper.File) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("writing keys for tang: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("writing keys for tang: %w", err)
	}
	if at := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), ".jwk") }); at >= 0 {
		return fmt.Errorf("writing keys for tang: %s has keys already (%s); name another directory", dir, entries[at].Name())
	}
	for _, f := range files {
		if err := writeKey(dir, f); err != nil {
			return fmt.Errorf("writing keys for tang: %w", err)
		}
	}
	return nil
}

// writeKey writes one file with the mode that tangd-keygen gives it.
func writeKey(dir string, f tangkeeper.File) (err error) {
	p, err := tang.ParsePrivate(f.JWK)
	defer p.D.Wipe()
	if err != nil {
		return err
	}
	name := p.Thumbprint() + ".jwk"
	if f.Hidden {
		name = "." + name
	}
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o440)
	if err != nil {
		return err
	}
	_, err = file.Write(f.JWK)
	return errors.Join(err, file.Sync(), file.Close())
}
