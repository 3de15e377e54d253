package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/internal/secret"
)

// AskFolder is where systemd's programs ask for passphrases
// (systemd.io/PASSWORD_AGENTS).
const AskFolder = "/run/systemd/ask-password"

// A question is a file "ask.…" there.
type question struct {
	id, socket string
	pid        int
	until      time.Duration // on CLOCK_MONOTONIC; 0 is for ever
}

// maxQuestion bounds such a file, in bytes.
const maxQuestion = 64 << 10

// questionText reads a file that only root can have written.
func questionText(path string) ([]byte, bool) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxQuestion || !ours(info) {
		return nil, false
	}
	text, err := io.ReadAll(io.LimitReader(f, maxQuestion))
	return text, err == nil
}

// readQuestion reads a question; ok is false if it is none that may be
// answered.
func readQuestion(path string) (q question, ok bool) {
	text, ok := questionText(path)
	if !ok {
		return q, false
	}
	var err error
	section := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		key, value, _ := strings.Cut(line, "=")
		if section != "[Ask]" {
			continue
		}
		switch key {
		case "Id":
			q.id = value
		case "Socket":
			q.socket = value
		case "PID":
			q.pid, err = strconv.Atoi(value)
		case "NotAfter":
			var µs uint64
			µs, err = strconv.ParseUint(value, 10, 53)
			q.until = time.Duration(µs) * time.Microsecond
		}
		if err != nil {
			return q, false
		}
	}
	return q, q.socket != "" && q.pid > 0 && !q.expired()
}

// expired tells whether nobody waits for the answer any more.
func (q question) expired() bool {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return q.until > 0 && time.Duration(now.Nano()) > q.until || errors.Is(unix.Kill(q.pid, 0), unix.ESRCH)
}

// device is the volume's device in "cryptsetup:DEVICE", "" in another
// question: it is none of ours.
func (q question) device() string {
	escaped, ok := strings.CutPrefix(q.id, "cryptsetup:")
	path, valid := unescape(escaped)
	if !ok || !valid || !strings.HasPrefix(path, "/dev/") {
		return ""
	}
	return path
}

// unescape undoes cescape of systemd's src/basic/escape.c, as far as names of
// devices have it: udev writes \x2f for a slash, whose backslash is doubled.
func unescape(s string) (string, bool) {
	if !strings.Contains(s, `\`) {
		return s, true
	}
	plain, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	return plain, err == nil
}

// AskPassword answers questions about volumes of the plan, each once, until
// ctx ends. It begins when there are answers.
func (a *Agent) AskPassword(ctx context.Context, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return a.each(ctx, folder, unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO, func() {
		files, _ := filepath.Glob(filepath.Join(folder, "ask.*"))
		slices.Sort(files)
		for _, f := range files {
			q, ok := readQuestion(f)
			if device := q.device(); ok && device != "" {
				a.reply(ctx, q, device)
			}
		}
	})
}

// each has look look at what there is, once there are keys, and again
// whenever something happens in a folder.
func (a *Agent) each(ctx context.Context, folder string, mask uint32, look func()) error {
	events, err := watchFolder(ctx, folder, mask)
	if err != nil {
		return fmt.Errorf("watching %s: %w", folder, err)
	}
	select {
	case <-a.keys.settled:
	case <-ctx.Done():
		return nil
	}
	for {
		look()
		if _, ok := <-events; !ok {
			return nil
		}
	}
}

// reply answers a question, if there is a key for it that can be typed.
func (a *Agent) reply(ctx context.Context, q question, device string) {
	key, given, err := a.keys.take(ctx, device)
	if err != nil {
		return // somebody else's volume, or a person's turn
	}
	defer key.Wipe()
	if slices.Contains(key.Reveal(), 0) {
		a.human(fmt.Sprintf("the key for %s has a zero byte, which no typed passphrase has: name %s as its key file in /etc/crypttab", device, KeySocket))
		given(false)
		return
	}
	given(send(q.socket, key) == nil)
}

// send gives a key to the socket that a question names.
func send(socket string, key secret.Bytes) error {
	if !isSocket(socket) {
		return fmt.Errorf("%s is no socket of root's", socket)
	}
	c, err := net.Dial("unixgram", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	buf := append([]byte("+"), key.Reveal()...)
	defer clear(buf)
	_, err = c.Write(buf)
	return err
}
