package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/discover"
	"latchkey/internal/cli"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/source/prompt"
)

// ask asks what no flag and no file answers. Each question has a proposal
// but that for the key server's key: it is what the machine will trust.
func (o *setup) ask(ctx context.Context, m *machine) error {
	if err := o.askVolumes(m); err != nil {
		return err
	}
	if err := o.askSources(); err != nil {
		return err
	}
	if slices.Contains(o.Sources, plan.SourceKMS) {
		if err := o.askKMS(ctx); err != nil {
			return err
		}
	}
	if err := o.askBoot(m); err != nil {
		return err
	}
	return o.askSign(m)
}

func (o *setup) askVolumes(m *machine) error {
	if len(o.Volumes) == 0 {
		var needed []string
		fmt.Fprintln(o.out, "The LUKS volumes of this machine:")
		for i, v := range m.volumes {
			why := ""
			if v.isRoot {
				why = ", / is on it"
			}
			fmt.Fprintf(o.out, "  %d  %s  %s%s\n", i+1, v.name, v.uuid, why)
			if v.needed {
				needed = append(needed, strconv.Itoa(i+1))
			}
		}
		return o.asked("1. Which volumes are opened at boot?", "volume", strings.Join(needed, " "), func(text string) error {
			o.Volumes = nil
			for _, word := range listed(text) {
				if n, err := strconv.Atoi(word); err == nil && n > 0 && n <= len(m.volumes) {
					word = m.volumes[n-1].uuid
				}
				o.Volumes = append(o.Volumes, word)
			}
			return o.choose(m)
		})
	}
	return o.choose(m)
}

func (o *setup) askSources() error {
	if len(o.Sources) > 0 {
		return nil // judged already
	}
	return o.asked("2. What opens them, in this order? (kms, systemd-tpm2, prompt)", "source", "kms prompt", func(text string) error {
		o.Sources = listed(text)
		return o.judgeWords()
	})
}

// askKMS looks who answers on the LAN; whether it is the right one, its key
// says, and that a person brings.
func (o *setup) askKMS(ctx context.Context) error {
	err := o.judgeKMS()
	if o.KMS == "" {
		err = o.asked("3. Where is the key server (KMS)?", "kms", o.found(ctx), func(text string) error {
			o.KMS = text
			return o.judgeKMS()
		})
	}
	switch {
	case err != nil:
		return err
	case len(o.Pins) > 0:
		return o.judgePins()
	}
	return o.asked("4. What is its key? (on the key server: latchkey-kms trust)", "pin", "", func(text string) error {
		o.Pins = listed(text)
		return o.judgePins()
	})
}

func (o *setup) judgeKMS() error {
	if _, err := kms.ParseURL(o.KMS); err != nil {
		return cli.Usagef("the key server: %w", err)
	}
	return nil
}

func (o *setup) judgePins() error {
	for _, p := range o.Pins {
		if _, err := kms.ParsePin(p); err != nil {
			return cli.Usagef("the key server's key: %w", err)
		}
	}
	return nil
}

// found is the first key server that answers.
func (o *setup) found(ctx context.Context) string {
	d := &discovery{urls: []string{"http://kms.local"}, services: []string{kms.Service}, wait: 2 * time.Second}
	finder, err := discover.NewFinder(discover.Query{URLs: d.urls, Services: d.services}, discover.System{Shared: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		return ""
	}
	all, _ := d.listen(ctx, finder, &kms.Client{})
	for _, f := range all {
		if f.Pin == unchecked {
			return "http://" + f.Address
		}
	}
	return ""
}

func (o *setup) askBoot(m *machine) error {
	if o.Boot != "" {
		return o.judgeBoot(m)
	}
	proposal := wayInitramfs
	if m.loader {
		proposal = wayUKI
	}
	return o.asked("5. How does it boot? (initramfs: in the distribution's place; uki: one measured image on the EFI partition)", "boot", proposal, func(text string) error {
		o.Boot = text
		return errors.Join(o.judgeWords(), o.judgeBoot(m))
	})
}

func (o *setup) judgeBoot(m *machine) error {
	if o.Boot == wayUKI && m.esp == "" {
		return errors.New("boot way uki: no EFI partition is mounted on /efi, /boot/efi or /boot")
	}
	return nil
}

func listed(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' })
}

// question prints one and reads its answer; an empty one is the proposal.
func (o *setup) question(text, flag, proposal string) (string, error) {
	missing := cli.Usagef("%s There is no answer: give --%s, or --answers FILE", text, flag)
	if o.yes {
		if proposal == "" {
			return "", missing
		}
		return proposal, nil
	}
	if proposal != "" {
		text += " [" + proposal + "]"
	}
	fmt.Fprint(o.out, text+" ")
	line, err := o.line()
	if line == "" {
		line = proposal
	}
	switch {
	case errors.Is(err, errInterrupted):
		return "", &over{err}
	case err != nil:
		return "", &over{missing}
	}
	if line == "" {
		return "", missing
	}
	return line, nil
}

// key is what opens the volumes now, as a file for the commands that enroll:
// of a file that was named, or as it is typed, held in memory alone. It is
// tried on all volumes before one is touched.
func (o *setup) key(ctx context.Context, m *machine) (path string, done func(), err error) {
	var key secret.Bytes
	switch {
	case o.keyFile != "":
		if key, err = readKeyFile(o.keyFile); err == nil {
			err = wrongKey(o.keyFile, key, m.open(ctx, key))
		}
	case o.yes:
		return "", nil, cli.Usagef("--yes asks for no passphrase: give --key-file")
	default:
		err = o.again(func() (err error) {
			key.Wipe()
			if key, err = o.passphrase("A passphrase that opens the volumes now: "); err != nil {
				return fmt.Errorf("reading the passphrase: %w", err)
			}
			return m.open(ctx, key)
		})
	}
	defer key.Wipe()
	if err != nil {
		return "", nil, fmt.Errorf("%w; nothing was changed: run it again", err)
	}

	fd, err := unix.MemfdCreate("passphrase", unix.MFD_CLOEXEC)
	if err != nil {
		return "", nil, fmt.Errorf("keeping the passphrase: %w", err)
	}
	if _, err := unix.Write(fd, key.Reveal()); err != nil {
		return "", nil, errors.Join(err, unix.Close(fd))
	}
	return "/proc/self/fd/" + strconv.Itoa(fd), func() { _ = unix.Close(fd) }, nil
}

// passphrase reads a line: at a terminal without echo, which is off before
// anybody is asked.
func (o *setup) passphrase(text string) (secret.Bytes, error) {
	if o.terminal {
		tty, err := prompt.Terminal("/dev/tty")
		if err != nil {
			return secret.Bytes{}, &over{err}
		}
		defer tty.Close()
	}
	fmt.Fprint(o.out, text)
	defer fmt.Fprintln(o.out)
	line, err := o.readLine()
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	if err != nil {
		return secret.Bytes{}, &over{errors.Join(err, errors.New("there is none"))}
	}
	return secret.Own(bytes.TrimRight(line, "\r\n")), nil
}
