package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/internal/secret"
)

// ControlSocket is where keyscripts ask, and where the latch is ordered. A
// request is one line, "key NAME" or "latch"; the answer is "+" and the key,
// or "-" and why there is none. A latch is answered with "." at once, and with
// "+" when it is done.
const ControlSocket = "/run/latchkey/agent.sock"

// maxLine is the longest request, in bytes: a path.
const maxLine = unix.PathMax + 8

// Listen makes a socket that root alone reaches, in place of what a dead agent
// has left.
func Listen(path string) (*net.UnixListener, error) {
	if err := ownFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("%s: an agent runs already", path)
	}
	os.Remove(path)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}

// Control answers at the control socket until no key is left and ctx has
// ended; then the socket is gone.
func (a *Agent) Control(ctx context.Context, l *net.UnixListener) {
	accept(ctx, l, func(ctx context.Context, c *net.UnixConn) {
		r := bufio.NewReader(io.LimitReader(c, maxLine))
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if r.Buffered() > 0 {
			fmt.Fprintf(c, "-a request is one line")
			return
		}
		word, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch word {
		case "key":
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			go func() { // a keyscript hangs up when it waits no more
				io.Copy(io.Discard, c)
				cancel()
			}()
			a.answer(ctx, c, name, "+")
		case "latch":
			io.WriteString(c, heard)
			a.end()
			<-a.done
			io.WriteString(c, "+")
		default:
			fmt.Fprintf(c, "-%.80q is no request", line)
		}
	})
}

// answer gives a key to a connection. If it does not get there, it counts as
// not given.
func (a *Agent) answer(ctx context.Context, c *net.UnixConn, name, before string) {
	key, given, err := a.keys.take(ctx, name)
	if err != nil {
		if before != "" {
			fmt.Fprintf(c, "-%v", err)
		}
		return
	}
	defer key.Wipe()
	buf := append([]byte(before), key.Reveal()...)
	defer clear(buf)
	_, err = c.Write(buf)
	given(err == nil)
}

// accept serves the connections of root's programs until ctx ends, and waits
// for those that it serves.
func accept(ctx context.Context, l *net.UnixListener, serve func(context.Context, *net.UnixConn)) {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		all.Go(func() {
			defer c.Close()
			if peer, err := peerOf(c); err == nil && peer.Uid == uint32(os.Getuid()) {
				serve(ctx, c)
			}
		})
	}
}

// peerOf is who is at the other end of a connection.
func peerOf(c *net.UnixConn) (peer *unix.Ucred, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	return peer, errors.Join(raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}), err)
}

// maxKey bounds an answer, in bytes: what cryptsetup takes as a key file.
const maxKey = 8 << 20

// Key asks the agent for a key. Its error is for people. The wait is for the
// answer: an agent that is not there is none.
func Key(ctx context.Context, socket, name string, wait time.Duration) (secret.Bytes, error) {
	if strings.ContainsRune(name, '\n') {
		return secret.Bytes{}, fmt.Errorf("%.80q: %w", name, errNotOurs)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	answer, err := ask(ctx, socket, "key "+name)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return secret.Bytes{}, fmt.Errorf("no key for %s came in %s: the lines above, or dmesg, say what was missing", name, wait)
	}
	return answer, err
}

// dial connects to the agent.
func dial(socket string) (*net.UnixConn, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the agent is root's: %w", err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errNoAgent, err)
	}
	return c, nil
}

var errNoAgent = errors.New("no agent runs")

// ask makes a request of the agent.
func ask(ctx context.Context, socket, request string) (secret.Bytes, error) {
	c, err := dial(socket)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if _, err := io.WriteString(c, request+"\n"); err != nil {
		return secret.Bytes{}, err
	}
	answer, err := io.ReadAll(io.LimitReader(c, maxKey))
	switch {
	case err != nil:
		return secret.Bytes{}, err
	case len(answer) > 0 && answer[0] == '+':
		return secret.Own(answer[1:]), nil
	case len(answer) > 0:
		return secret.Bytes{}, errors.New(string(answer[1:]))
	}
	return secret.Bytes{}, errors.New("the agent ended without an answer")
}
