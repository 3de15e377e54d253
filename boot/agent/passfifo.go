package agent

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// AskpassFolder is where askpass of Debian's cryptsetup-initramfs is, and the
// FIFO that it reads beside the keyboard.
const AskpassFolder = "/lib/cryptsetup"

// An asker is an askpass that waits for a passphrase.
type asker struct{ name, source string }

// PassFIFO answers askpass, whose environment names the volume, until ctx
// ends. It begins when there are answers. Where there is no askpass, nobody
// asks.
func (a *Agent) PassFIFO(ctx context.Context, proc, folder string) error {
	askpass, err := os.Stat(filepath.Join(folder, "askpass"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return a.each(ctx, folder, unix.IN_OPEN|unix.IN_CREATE, func() {
		for _, one := range askers(proc, askpass) {
			a.feed(ctx, one, filepath.Join(folder, "passfifo"))
		}
	})
}

// askers are those whose program is askpass.
func askers(proc string, askpass os.FileInfo) (all []asker) {
	processes, _ := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	for _, p := range processes {
		program, err := os.Stat(filepath.Join(p, "exe"))
		if err != nil || !os.SameFile(program, askpass) {
			continue
		}
		environ, err := os.ReadFile(filepath.Join(p, "environ"))
		if err != nil {
			continue
		}
		var one asker
		for word := range bytes.SplitSeq(environ, []byte{0}) {
			key, value, _ := strings.Cut(string(word), "=")
			switch key {
			case "CRYPTTAB_NAME":
				one.name = value
			case "CRYPTTAB_SOURCE":
				one.source = value
			}
		}
		all = append(all, one)
	}
	return all
}

// feed gives an asker its key, if there is one for it. The FIFO is opened only
// then, for that is an event by itself. Without a reader it does not open: that
// askpass is over, or does not read yet; then its opening is heard.
func (a *Agent) feed(ctx context.Context, one asker, fifo string) {
	asked := one.source
	if !strings.HasPrefix(asked, "/dev/") {
		asked = one.name
	}
	key, given, err := a.keys.take(ctx, asked)
	if err != nil {
		return
	}
	defer key.Wipe()
	f, err := os.OpenFile(fifo, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	_, err = f.Write(key.Reveal())
	given(err == nil)
}
