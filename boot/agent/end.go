package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/internal/kmsg"
)

// Sockets are where an agent can be asked.
type Sockets struct {
	Control, Common string
	Folder          string // of NAME.key
}

// OwnSockets are those of an agent in a boot.
var OwnSockets = Sockets{ControlSocket, KeySocket, KeyFolder}

// EndWait is how long an agent may take to end the early boot.
const EndWait = closeWait + 2*grace

// heardWait is how long an agent may take to say that it has heard of the end,
// and after how long people are told what they wait for.
const heardWait = 3 * time.Second

// heard is that word.
const heard = "."

// End ends the early boot: the agent that runs gives no key any more, and the
// TPM is closed when it returns nil. An agent that does not hear of it in
// heardWait, or is not done after wait, is killed. No socket is left.
func End(ctx context.Context, sys System, at Sockets, wait time.Duration) error {
	say := func(format string, args ...any) {
		sys.Log().Log(ctx, kmsg.Human, fmt.Sprintf(format, args...))
	}
	err := order(ctx, at.Control, wait, say)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return err
	case err != nil && !errors.Is(err, errNoAgent):
		say("%v: the agent is killed", err)
		if err := kill(at.Control); err != nil {
			return err
		}
	}
	sweep(sys, at)
	if err == nil {
		return nil
	}
	return Latch(ctx, sys)
}

// order has the agent end, and waits for it.
func order(ctx context.Context, socket string, wait time.Duration, say func(string, ...any)) error {
	c, err := dial(socket)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if _, err := io.WriteString(c, "latch\n"); err != nil {
		return err
	}
	if err := await(c, heard, min(wait, heardWait)); err != nil {
		return fmt.Errorf("it does not answer in %s (%w)", min(wait, heardWait), err)
	}
	slow := time.AfterFunc(heardWait, func() { say("waiting for the agent to close the TPM, for %s at the most", wait) })
	defer slow.Stop()
	if err := await(c, "+", wait); err != nil {
		return fmt.Errorf("it has not closed the TPM in %s (%w)", wait, err)
	}
	return nil
}

// await reads a word of the agent's.
func await(c *net.UnixConn, word string, wait time.Duration) error {
	c.SetReadDeadline(time.Now().Add(wait))
	b := make([]byte, len(word))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != word {
		return fmt.Errorf("it says %q", b)
	}
	return nil
}

// kill ends the agent that listens, and waits until it is gone.
func kill(socket string) error {
	c, err := dial(socket)
	if errors.Is(err, errNoAgent) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	peer, err := peerOf(c)
	if err != nil || peer.Pid <= 1 {
		return err
	}
	fd, err := unix.PidfdOpen(int(peer.Pid), 0)
	if err != nil {
		return nil //nolint:nilerr // it has ended by itself
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing the agent: %w", err)
	}
	for over := time.Now().Add(heardWait); time.Now().Before(over); {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(over).Milliseconds())+1)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		}
	}
	return fmt.Errorf("the agent, process %d, does not end", peer.Pid)
}

// sweep removes the sockets of an agent that is no more: a dead one in the
// place of a key file would be an error of whoever looks for it.
func sweep(sys System, at Sockets) {
	paths := []string{at.Control, at.Common}
	if p, _, err := sys.Plan(); err == nil {
		for _, v := range p.Volumes {
			paths = append(paths, filepath.Join(at.Folder, v.Name+".key"))
		}
	}
	for _, p := range paths {
		if !isSocket(p) {
			continue
		}
		if c, err := dial(p); err == nil {
			c.Close() // somebody's
		} else {
			os.Remove(p)
		}
	}
}
