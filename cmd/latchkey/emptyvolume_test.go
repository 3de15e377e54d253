package main

import (
	"os"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// emptyVolume makes an image of 20 MiB with a LUKS2 header and a keyslot
// that nobody has the key of.
func emptyVolume(t *testing.T, path, uuid string) (*os.File, *luks2.Header) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(20 << 20); err != nil {
		t.Fatal(err)
	}
	h, volume, err := luks2.Format(f, luks2.NewVolume{UUID: uuid, SizeBytes: 20 << 20}, luks2.NewKey{Passphrase: secret.Random(32), Random: true})
	if err != nil {
		t.Fatal(err)
	}
	volume.Wipe()
	return f, h
}
