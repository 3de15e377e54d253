package agent

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Where systemd-cryptsetup finds keys by itself: NAME.key in KeyFolder, for a
// mapping without a key file in crypttab(5). KeySocket is for crypttab's third
// field. It connects to a socket in the place of a key file, from an abstract
// address that names the volume (systemd's crypttab(5), "AF_UNIX key files").
const (
	KeyFolder = "/run/cryptsetup-keys.d"
	KeySocket = "/run/latchkey/key.sock"
)

// KeySockets makes the sockets of all volumes.
func (a *Agent) KeySockets(folder, common string) (all []*net.UnixListener, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
		}
	}()
	paths := []string{common}
	for _, v := range a.plan.Volumes {
		paths = append(paths, filepath.Join(folder, v.Name+".key"))
	}
	for _, p := range paths {
		l, err := Listen(p)
		if err != nil {
			return all, err
		}
		all = append(all, l)
	}
	return all, nil
}

func closeAll(all []*net.UnixListener) {
	for _, l := range all {
		l.Close()
	}
}

// ServeKeys answers at one of them until ctx ends. One who asks is told after
// wait that there is no key, by the end of the connection: systemd-cryptsetup
// then asks for a passphrase.
func (a *Agent) ServeKeys(ctx context.Context, l *net.UnixListener, wait time.Duration) {
	accept(ctx, l, func(ctx context.Context, c *net.UnixConn) {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		if name := volumeOf(c, l.Addr().String()); name != "" {
			a.answer(ctx, c, name, "")
		}
	})
}

// volumeOf is which volume a connection is for. One whose address names
// another than the socket is for none.
func volumeOf(c *net.UnixConn, socket string) string {
	ofSocket, isOne := strings.CutSuffix(filepath.Base(socket), ".key")
	named := peerName(c.RemoteAddr().String())
	switch {
	case !isOne:
		return named
	case named == "" || named == ofSocket:
		return ofSocket
	}
	return ""
}

// peerName is the volume in "@RANDOM/cryptsetup/VOLUME" (make_bindname in
// systemd's src/cryptsetup/cryptsetup.c).
func peerName(addr string) string {
	random, rest, ok := strings.Cut(addr, "/")
	kind, name, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || kind != "cryptsetup" || !strings.HasPrefix(random, "@") || strings.ContainsRune(name, os.PathSeparator) {
		return ""
	}
	return name
}
