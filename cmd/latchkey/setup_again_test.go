package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// typed makes the machine's volume one that a person has a passphrase of.
func (b *bench) typed(root, phrase string) (path string) {
	b.t.Helper()
	b.volume("known") // the key server approves the machine
	path = filepath.Join(root, "dev/vol")
	f, err := os.Create(path)
	b.check(err)
	defer f.Close()
	b.check(f.Truncate(20 << 20))
	_, volume, err := luks2.Format(f, luks2.NewVolume{UUID: setupUUID, SizeBytes: 20 << 20}, luks2.NewKey{Passphrase: secret.Own([]byte(phrase)), Random: true})
	b.check(err)
	volume.Wipe()
	return path
}

// TestSetupAsksAgain: what a person has mistyped is asked for again, and the
// right answer counts; a flag that is wrong is not asked for.
func TestSetupAsksAgain(t *testing.T) {
	b := newBench(t)
	root := b.debian()
	phrase := strings.Repeat("0123456789abcdef", 4) // as long as what needs no Argon2
	path := b.typed(root, phrase)

	c, cmd := b.atTerminal("setup", "--root", root, "--tpm", filepath.Join(b.dir, "chip.sock"), "--no-check")
	for _, q := range []struct {
		asks    string
		answers []string // the last is right
		of      string   // what is said of a wrong one
	}{
		{"1. Which volumes are opened at boot? [1] ", []string{"7", "nothing", "1"}, `volume "`},
		{"[kms prompt] ", []string{"kms,prompd", "kms, prompt"}, `source "prompd"`},
		{"3. Where is the key server (KMS)?", []string{"kms:what", b.url}, "the key server: "},
		{"latchkey-kms trust) ", []string{"", "lk1:x", b.pin.String()}, ""},
		{"5. How does it boot?", []string{"grub", "uki", "initramfs"}, "boot way "},
		{"Do this? [yes/no] ", []string{"perhaps", "yes"}, `"perhaps" is neither yes nor no`},
		{"A passphrase that opens the volumes now: ", []string{phrase[1:], "", phrase}, "volume sda3_crypt: "},
	} {
		for i, answer := range q.answers {
			c.await(q.asks)
			c.say(answer)
			if i < len(q.answers)-1 {
				c.await(q.of)
				c.await(". Once more, please.")
			}
		}
	}
	c.await("recovery key (keyslot 2)")
	c.await("latchkey setup --undo") // there is no init to put into the image
	if err := cmd.Wait(); err == nil {
		t.Error("setup built an image without an init")
	}
	if slots, _ := slotsOf(t, path); slots != 3 {
		t.Errorf("%d keyslots, want 3", slots)
	}
}

// TestSetupGivesUp: a person is asked three times, and no more; Ctrl-C ends
// the question, and the terminal echoes again.
func TestSetupGivesUp(t *testing.T) {
	for _, row := range []struct {
		name string
		talk func(c *talk)
		want string
	}{
		{"three times", func(c *talk) {
			for range 3 {
				c.await("[1] ")
				c.say("7")
			}
		}, `volume "7": this machine has `},
		{"Ctrl-C", func(c *talk) {
			c.await("[1] ")
			c.say("")
			c.await("[kms prompt] ")
			c.say("prompt")
			c.await("5. How")
			c.say("")
			c.await("Do this? [yes/no] ")
			c.say("yes")
			c.await("A passphrase that opens the volumes now: ")
			c.press("\x03")
		}, "interrupted"},
	} {
		b := newBench(t)
		root := b.debian()
		emptyVolume(t, filepath.Join(root, "dev/vol"), setupUUID)
		c, cmd := b.atTerminal("setup", "--root", root)
		row.talk(c)
		c.await("latchkey: ")
		c.await(row.want)
		err := cmd.Wait()
		if _, failed := errors.AsType[*exec.ExitError](err); !failed {
			t.Errorf("%s: setup ends with %v", row.name, err)
		}
		if !echoes(t, c.tty) {
			t.Errorf("%s: the terminal does not echo any more", row.name)
		}
	}
}

// TestSetupAnswersAreRight: a wrong answer of a file is not asked for again.
func TestSetupAnswersAreRight(t *testing.T) {
	b := newBench(t)
	root := b.debian()
	emptyVolume(t, filepath.Join(root, "dev/vol"), setupUUID)
	answers := filepath.Join(b.dir, "answers.yaml")
	b.check(os.WriteFile(answers, []byte("volumes: [sdz9]\n"), 0o600))
	c, cmd := b.atTerminal("setup", "--root", root, "--answers", answers)
	c.await(`latchkey: volume "sdz9": this machine has sda3_crypt`)
	if err := cmd.Wait(); err == nil {
		t.Error("setup took a volume that is not there")
	}
	if said := c.so.String(); strings.Contains(said, "Once more") || strings.Count(said, "\n") > 1 {
		t.Errorf("setup says more than one line:\n%s", said)
	}
}
