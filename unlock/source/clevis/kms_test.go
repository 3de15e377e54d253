package clevis_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/secret"
	"latchkey/internal/testlan"
	"latchkey/kms/front"
	"latchkey/kms/ledger"
	"latchkey/kms/operator"
	"latchkey/kms/server"
	"latchkey/kms/server/tang"
	"latchkey/kms/store/bolt"
	"latchkey/unlock/source/clevis"
)

// within runs a script in the Debian in $1, whose /tmp is $2.
const within = `mount --bind "$2" "$1/tmp"; mount --rbind /dev "$1/dev"; mount -t proc proc "$1/proc"; exec chroot "$1" bash -ec "$3"`

// A debian is one whose /tmp is a folder of the test's.
type debian struct {
	t         *testing.T
	root, dir string
}

func (d debian) command(script string) *exec.Cmd {
	return exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", within, "sh", d.root, d.dir, script)
}

// run runs a script, and wants that it ends as said.
func (d debian) run(works bool, script string) string {
	d.t.Helper()
	cmd := d.command(script)
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); (err == nil) != works {
		d.t.Fatalf("%s: %v\n%s%s", script, err, out.String(), stderr.String())
	}
	return out.String() + stderr.String()
}

// An address is where clients find a tang server, whichever that is.
type address struct {
	net.Listener
	mu    sync.Mutex
	serve func(net.Conn)
	busy  sync.WaitGroup
}

func newAddress(t *testing.T) *address {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &address{Listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			a.mu.Lock()
			serve := a.serve
			a.mu.Unlock()
			a.busy.Go(func() { defer conn.Close(); serve(conn) })
		}
	}()
	t.Cleanup(func() { l.Close(); a.busy.Wait() })
	return a
}

// lead gives the address to another server.
func (a *address) lead(to func(net.Conn)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serve = to
}

// tangd is a process for each connection, as Debian's tangd.socket starts it.
func (d debian) tangd(keys string) func(net.Conn) {
	return func(conn net.Conn) {
		f, err := conn.(*net.TCPConn).File()
		if err != nil {
			return
		}
		defer f.Close()
		cmd := d.command("exec /usr/libexec/tangd " + keys)
		cmd.Stdin, cmd.Stdout = f, f
		cmd.Run() // it fails where a client just goes
	}
}

// newKMS is a key server that speaks tang, and how an address leads to it.
func newKMS(t *testing.T) (*server.Server, func(net.Conn)) {
	dir, wrapping := t.TempDir(), secret.Random(32)
	mark := ledger.MarkFile(filepath.Join(dir, "epoch"))
	db, err := bolt.Open(filepath.Join(dir, "kms.db"), true, server.Tables())
	if err == nil {
		_, err = ledger.Initialize(t.Context(), db, wrapping, mark)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.Open(server.Config{Store: db, Wrapping: wrapping, Mark: mark, Protocols: []server.Protocol{server.Tang}})
	if err == nil {
		err = s.Begin(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := server.NewFront(s, l, nil, front.Options{}, slog.New(slog.DiscardHandler))
	go web.Serve()
	t.Cleanup(func() { web.Close(); s.Close() })
	return s, func(conn net.Conn) {
		to, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return
		}
		defer to.Close()
		go func() { io.Copy(to, conn); to.(*net.TCPConn).CloseWrite() }()
		io.Copy(conn, to)
	}
}

// TestKMSTakesOver: volumes and messages that the real clevis bound to a real
// tangd open by the key server, after it took tangd's keys, at the same
// address; and go back.
//
// compatible: Disks | clevis, tang (Debian 13) | what clevis bound to a tangd opens by `latchkey-kms` with tangd's keys, by clevis and here; it binds, reports rotated keys, and goes back to a tangd
func TestKMSTakesOver(t *testing.T) {
	d := debian{t, testlan.DebianRoot(t), t.TempDir()}
	kms, toKMS := newKMS(t)
	at := newAddress(t)
	url := fmt.Sprintf(`{"url":"http://%s"}`, at.Addr())
	blank := filepath.Join(d.dir, "new.img")
	if err := os.WriteFile(blank, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(blank, imageBytes); err != nil {
		t.Fatal(err)
	}

	d.run(true, `mkdir /tmp/keys; /usr/libexec/tangd-keygen /tmp/keys; printf old > /tmp/old
cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /tmp/old /tmp/new.img`)
	at.lead(d.tangd("/tmp/keys"))
	d.run(true, `clevis luks bind -y -d /tmp/new.img -k /tmp/old tang '`+url+`'
clevis luks pass -d /tmp/new.img -s 1 > /tmp/before
echo a message | clevis encrypt tang '`+url+`' -y > /tmp/message
/usr/libexec/tangd-rotate-keys -d /tmp/keys`)

	files, err := operator.ReadTang(filepath.Join(d.dir, "keys"))
	if err == nil {
		_, err = kms.Tang.Import(t.Context(), files)
	}
	if err != nil || len(files) != 4 {
		t.Fatalf("taking %d keys: %v", len(files), err)
	}
	at.lead(toKMS)
	if out := d.run(true, `clevis luks pass -d /tmp/new.img -s 1 | cmp - /tmp/before; clevis decrypt < /tmp/message`); !strings.Contains(out, "a message") {
		t.Errorf("clevis decrypts %q", out)
	}
	if out := d.run(false, `clevis luks report -d /tmp/new.img -s 1 -q`); !strings.Contains(out, "rotated") {
		t.Errorf("clevis luks report says %q, want that keys were rotated", out)
	}
	i, s := open(t, blank), &servers{}
	if err := (&clevis.Clevis{Allowed: []string{kid(t, i.v.Header)}, Wait: time.Minute, Asker: s}).Run(t.Context(), i); err != nil || !i.open || s.asked == 0 {
		t.Errorf("by the source: open: %t, %d requests, %v", i.open, s.asked, err)
	}
	d.run(true, `clevis luks regen -q -d /tmp/new.img -s 1; clevis luks report -d /tmp/new.img -s 1 -q; clevis luks pass -d /tmp/new.img -s 1 > /dev/null`)

	back, err := kms.Tang.Export(t.Context(), "")
	if err == nil {
		err = operator.WriteTang(filepath.Join(d.dir, "back"), back)
	}
	if err != nil {
		t.Fatal(err)
	}
	at.lead(d.tangd("/tmp/back"))
	d.run(true, `cd /tmp; for f in $(ls -A keys); do jose jwk thp -i keys/$f | cmp - <(jose jwk thp -i back/$f); done
clevis decrypt < /tmp/message; clevis luks pass -d /tmp/new.img -s 1 > /dev/null`)
}

// TestKMSAlone: clevis binds to a key server that never was a tangd, to keys
// of everybody and of one client; what is revoked or retired opens nothing.
func TestKMSAlone(t *testing.T) {
	d := debian{t, testlan.DebianRoot(t), t.TempDir()}
	kms, toKMS := newKMS(t)
	at := newAddress(t)
	at.lead(toKMS)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.WithoutCancel(t.Context())
	must(kms.Tang.New(ctx, "web-7", "P-256", nil))
	d.run(true, fmt.Sprintf(`cd /tmp
echo all | clevis encrypt tang '{"url":"http://%[1]s"}' -y > all
echo one | clevis encrypt tang '{"url":"http://%[1]s/for/web-7"}' -y > one
echo two | clevis encrypt sss '{"t":2,"pins":{"tang":[{"url":"http://%[1]s/"},{"url":"http://%[1]s/for/web-7"}]}}' -y > two`, at.Addr()))
	all := `cd /tmp; [ "$(clevis decrypt < all)" = all ]`
	one := `cd /tmp; [ "$(clevis decrypt < one)" = one ]`
	two := `cd /tmp; [ "$(clevis decrypt < two)" = two ]`
	d.run(true, all+"\n"+one+"\n"+two)

	must(kms.Tang.Revoke(ctx, "web-7", true))
	d.run(false, one)
	d.run(false, two)
	d.run(true, all)
	must(kms.Tang.Revoke(ctx, "web-7", false))
	must(kms.Tang.Rotate(ctx, "", tang.DefaultCurve))
	d.run(true, all+"\n"+one+"\n"+two)

	// A thumbprint that somebody wrote down counts while its key is told of.
	keys, err := kms.Tang.Keys()
	must(err)
	for _, k := range keys {
		if k.Client == "" && k.Use == "sign" {
			d.run(k.State == "advertised", fmt.Sprintf(`echo new | clevis encrypt tang '{"url":"http://%s","thp":"%s"}' > /dev/null`, at.Addr(), k.Thumbprint))
		}
		if k.Client == "" && k.Use == "exchange" && k.State == "hidden" {
			must(kms.Tang.Change(ctx, "retire", k.Thumbprint, true))
		}
	}
	d.run(false, all)
	d.run(true, one)
}
