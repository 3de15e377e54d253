package main

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"latchkey/unlock/luks2"
)

// A deadly writer ends the goroutine that writes a text into it.
type deadly struct {
	strings.Builder
	text string
}

func (d *deadly) Write(p []byte) (int, error) {
	if strings.Contains(string(p), d.text) {
		runtime.Goexit()
	}
	return d.Builder.Write(p)
}

// setUp runs setup with no questions until it prints a text, or to its end.
func (b *bench) setUp(root, until string) (said string, err error) {
	out := &deadly{text: until}
	o := b.setupOf(root, out)
	ended := make(chan struct{})
	err = errors.New("killed")
	go func() {
		defer close(ended)
		err = o.run(b.t.Context())
	}()
	<-ended
	return out.String(), err
}

func (b *bench) setupOf(root string, out io.Writer) *setup {
	o := &setup{yes: true, keyFile: filepath.Join(b.dir, "key"), tpm: filepath.Join(b.dir, "chip.sock"), in: bufio.NewReader(strings.NewReader("")), out: out, err: io.Discard}
	o.KMS, o.Pins, o.update.root, o.host.Root = b.url, []string{b.pin.String()}, root, root
	return o
}

// encrypted gives the machine's volume the key of the bench.
func (b *bench) encrypted(root string) (path string) {
	b.t.Helper()
	b.volume("known") // the key server approves the machine
	path = filepath.Join(root, "dev/vol")
	f, err := os.Create(path)
	b.check(err)
	defer f.Close()
	b.check(f.Truncate(20 << 20))
	_, volume, err := luks2.Format(f, luks2.NewVolume{UUID: setupUUID, SizeBytes: 20 << 20}, luks2.NewKey{Passphrase: b.key, Random: true})
	b.check(err)
	volume.Wipe()
	b.check(os.WriteFile(filepath.Join(b.dir, "key"), b.key.Reveal(), 0o600))
	return path
}

// TestSetupIsKilled: a run that was killed behind its keyslot can be taken
// back, and so can the one that goes on with it.
func TestSetupIsKilled(t *testing.T) {
	for _, again := range []bool{false, true} {
		b := newBench(t)
		root := b.debian()
		path := b.encrypted(root)
		if _, err := b.setUp(root, "enrolled volume"); err == nil || err.Error() != "killed" {
			t.Fatalf("the run ends with %v", err)
		}
		if slots, _ := slotsOf(t, path); slots != 3 {
			t.Fatalf("%d keyslots, want the operator's, the machine's and the recovery key's", slots)
		}
		if again {
			if said, err := b.setUp(root, "wrote"); err == nil || err.Error() != "killed" {
				t.Fatalf("the second run ends with %v:\n%s", err, said)
			}
		}

		var out strings.Builder
		b.check(b.setupOf(root, &out).takeBack())
		wantSlots, want := 2, "latchkey volume remove-key --slot 2 --key-file FILE "+path+"\n"
		if again {
			wantSlots, want = 1, "removed keyslot 2 of volume "
		}
		for _, text := range []string{"removed keyslot 1 of volume ", want, "latchkey-kms volume delete --now " + setupUUID} {
			if !strings.Contains(out.String(), text) {
				t.Errorf("again %t: undo does not say %q:\n%s", again, text, out.String())
			}
		}
		if slots, _ := slotsOf(t, path); slots != wantSlots {
			t.Errorf("again %t: %d keyslots are left, want %d", again, slots, wantSlots)
		}
		b.opensWithKey(path)
		if _, err := os.Stat(filepath.Join(root, statePath)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("again %t: setup.json: %v", again, err)
		}
	}
}
