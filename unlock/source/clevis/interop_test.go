package clevis_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey/internal/endpoint"
	"latchkey/internal/testlan"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source"
	"latchkey/unlock/source/clevis"
)

// script has clevis of the Debian in $1 bind the volume in the folder $2 to
// a tangd on port $3, as people do it, and leaves tangd running.
const script = `
mount --bind "$2" "$1/tmp"; mount --rbind /dev "$1/dev"; mount -t proc proc "$1/proc"
root=$1 port=$3
deb() { chroot "$root" "$@"; }
mkdir "$2/keys"
deb /usr/libexec/tangd-keygen /tmp/keys >&2
deb /usr/libexec/tangd -l -p "$port" /tmp/keys >&2 &
server="\"url\":\"http://127.0.0.1:$port\""
for i in 1 2 3 4 5 6 7 8 9; do deb curl -sf -o /dev/null "http://127.0.0.1:$port/adv" && break; sleep 1; done
deb cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /tmp/old /tmp/tang.img >&2
cp "$2/tang.img" "$2/sss.img"
deb cryptsetup luksUUID -q --uuid 0a1b2c3d-4e5f-4061-8273-94a5b6c7d8e9 /tmp/sss.img >&2
deb clevis luks bind -y -d /tmp/tang.img -k /tmp/old tang "{$server}" >&2
deb clevis luks bind -y -d /tmp/sss.img -k /tmp/old sss "{\"t\":2,\"pins\":{\"tang\":[{$server},{$server}],\"sss\":{\"t\":1,\"pins\":{\"tang\":[{$server}]}}}}" >&2
echo bound
wait
`

// servers asks over real connections.
type servers struct{ asked int }

func (s *servers) Ask(ctx context.Context, url, path string, body []byte, take func([]byte) error) error {
	s.asked++
	to, err := endpoint.ParseURL(url)
	if err != nil {
		return err
	}
	reply, err := kms.Post(ctx, (&net.Dialer{}).DialContext, kms.Endpoint(to), path, "application/jwk+json", body)
	if err != nil {
		return err
	}
	return take(reply)
}

// image is an Opener of one volume in an image file.
type image struct {
	*os.File
	v    unlock.Volume
	open bool
}

func (i *image) Closed() []*unlock.Volume   { return []*unlock.Volume{&i.v} }
func (i *image) Needed(*unlock.Volume) bool { return !i.open }

func (i *image) Try(ctx context.Context, o source.Offer) (errs []error) {
	for _, k := range o.Keys {
		all, err := k.Passphrases(ctx)
		if err == nil {
			err = errors.New("no passphrase")
		}
		for _, c := range all {
			var key luks2.VolumeKey
			key, _, err = i.v.Header.Unlock(ctx, i, luks2.Attempt{Passphrase: c.Passphrase, Slot: c.Slots[0]})
			key.Wipe()
		}
		i.open = err == nil
		errs = append(errs, err)
	}
	return errs
}

// TestClevis opens what the real clevis bound, by a real tangd.
func TestClevis(t *testing.T) {
	root := testlan.DebianRoot(t)
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "old"), []byte("old"), 0o600), os.WriteFile(filepath.Join(dir, "tang.img"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "tang.img"), 32<<20); err != nil {
		t.Fatal(err)
	}
	bind(t, root, dir)

	for _, name := range []string{"tang.img", "sss.img"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		h, err := luks2.Read(f, 32<<20)
		if err != nil {
			t.Fatal(err)
		}
		i := &image{File: f, v: unlock.Volume{Name: name, Header: h}}
		s := &servers{}
		err = (&clevis.Clevis{Allowed: []string{kid(t, h)}, Wait: time.Minute, Asker: s}).Run(t.Context(), i)
		if err != nil || !i.open || s.asked == 0 {
			t.Errorf("%s: open: %t, %d requests, %v", name, i.open, s.asked, err)
		}

		i.open = false
		err = (&clevis.Clevis{Allowed: []string{strings.Repeat("A", 43)}, Wait: time.Minute, Asker: s}).Run(t.Context(), i)
		if err == nil || i.open {
			t.Errorf("%s: open: %t, %v by a key that is not allowed", name, i.open, err)
		}
	}
}

// bind runs the script until it has bound the volumes; the server lives as
// long as the test.
func bind(t *testing.T, root, dir string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script, "sh", root, dir, fmt.Sprint(port))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "bound\n" {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("binding: %q, %v\n%s", line, err, stderr.String())
	}
}

// kid is the thumbprint of the key that a volume's token, or the first of
// its shares, is bound to.
func kid(t *testing.T, h *luks2.Header) string {
	t.Helper()
	var token struct{ JWE struct{ Protected string } }
	if err := json.Unmarshal(h.Tokens()[0].JSON, &token); err != nil {
		t.Fatal(err)
	}
	for protected := token.JWE.Protected; ; {
		text, err := base64.RawURLEncoding.DecodeString(protected)
		if err != nil {
			t.Fatal(err)
		}
		var header struct {
			Kid    string
			Clevis struct{ SSS struct{ JWE []string } }
		}
		if err := json.Unmarshal(text, &header); err != nil {
			t.Fatal(err)
		}
		if header.Kid != "" {
			return header.Kid
		}
		protected, _, _ = strings.Cut(header.Clevis.SSS.JWE[0], ".")
	}
}
