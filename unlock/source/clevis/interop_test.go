package clevis_test

import (
	"bufio"
	"context"
	"crypto"
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

	"latchkey/boot/codes"
	"latchkey/internal/endpoint"
	"latchkey/internal/testlan"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source"
	"latchkey/unlock/source/clevis"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// script has clevis of the Debian in $1 bind volumes in the folder $2 to a
// tangd on port $3 and to the TPM in the folder $4, as people do it, and
// leaves tangd running. $5 are lines "bind NAME PIN CONFIG", in which $server
// is the server.
const script = `
mount --bind "$2" "$1/tmp"; mount --rbind /dev "$1/dev"; mount -t proc proc "$1/proc"
mkdir "$2/keys" "$2/tpm"
mount --bind "$4" "$1/tmp/tpm"
root=$1 port=$3 bindings=$5
export TPM2TOOLS_TCTI=swtpm:path=/tmp/tpm/tpm.sock
deb() { chroot "$root" "$@"; }
deb /usr/libexec/tangd-keygen /tmp/keys >&2
deb /usr/libexec/tangd -l -p "$port" /tmp/keys >&2 &
server="\"url\":\"http://127.0.0.1:$port\""
for i in 1 2 3 4 5 6 7 8 9; do deb curl -sf -o /dev/null "http://127.0.0.1:$port/adv" && break; sleep 1; done
deb cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /tmp/old /tmp/new.img >&2
bind() {
	deb cp /tmp/new.img "/tmp/$1.img"
	deb clevis luks bind -y -d "/tmp/$1.img" -k /tmp/old "$2" "$3" >&2
	[ ! -S "$root/tmp/tpm/tpm.sock" ] || deb tpm2_flushcontext -l >&2 # nobody else does without a resource manager
}
eval "$bindings"
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
//
// compatible: Disks | clevis, tang (Debian 13) | volumes that `clevis luks bind` bound to tang servers, alone and by sss, open here
func TestClevis(t *testing.T) {
	root, dir := testlan.DebianRoot(t), t.TempDir()
	bind(t, root, dir, t.TempDir(), `
bind tang tang "{$server}"
bind sss sss "{\"t\":2,\"pins\":{\"tang\":[{$server},{$server}],\"sss\":{\"t\":1,\"pins\":{\"tang\":[{$server}]}}}}"`)
	for _, name := range []string{"tang.img", "sss.img"} {
		i := open(t, filepath.Join(dir, name))
		s := &servers{}
		err := (&clevis.Clevis{Allowed: []string{kid(t, i.v.Header)}, Wait: time.Minute, Asker: s}).Run(t.Context(), i)
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

// TestClevisTPM2 opens what the real clevis sealed to a TPM, alone and as a
// share beside a real tangd's.
//
// compatible: TPM | clevis (Debian 13) | volumes that it bound to the TPM open here, with and without PCRs
func TestClevisTPM2(t *testing.T) {
	root, dir, sim := testlan.DebianRoot(t), t.TempDir(), tpmtest.Start(t)
	bind(t, root, dir, filepath.Dir(sim.Socket), `
bind ecc tpm2 "{}"
bind rsa tpm2 "{\"key\":\"rsa\"}"
bind sha256 tpm2 "{\"pcr_bank\":\"sha256\",\"pcr_ids\":\"0,7\"}"
bind sha1 tpm2 "{\"key\":\"rsa\",\"pcr_ids\":\"7\"}"
bind sss sss "{\"t\":2,\"pins\":{\"tang\":[{$server}],\"tpm2\":[{\"pcr_bank\":\"sha256\",\"pcr_ids\":\"7\"}]}}"`)
	chip, err := tpm.Open(sim.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer chip.Close()
	for _, extended := range []bool{false, true} {
		for _, name := range []string{"ecc", "rsa", "sha256", "sha1", "sss"} {
			i := open(t, filepath.Join(dir, name+".img"))
			token := i.v.Header.Tokens()[0].JSON
			c := &clevis.Clevis{Sealed: clevis.Sealed(token), Wait: time.Minute, Asker: &servers{}, TPM: func(context.Context) (clevis.Unsealer, error) { return chip, nil }}
			for _, s := range clevis.Servers(token) {
				c.Allowed = append(c.Allowed, s.Thumbprint)
			}
			err := c.Run(t.Context(), i)
			if bound := name != "ecc" && name != "rsa"; extended && bound {
				if i.open || codes.Of(err) != tpm.CodeSealPolicy || !strings.Contains(err.Error(), "7 (sha") {
					t.Errorf("%s with another PCR 7: open: %t, %v, want %s with the PCR", name, i.open, err, tpm.CodeSealPolicy)
				}
			} else if err != nil || !i.open {
				t.Errorf("%s: open: %t, %v", name, i.open, err)
			}
		}
		if err := chip.Extend(t.Context(), 7, func(h crypto.Hash) []byte { return make([]byte, h.Size()) }); err != nil {
			t.Fatal(err)
		}
	}
}

// imageBytes is the size of the volumes.
const imageBytes = 32 << 20

// open reads a volume that clevis bound.
func open(t *testing.T, path string) *image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	h, err := luks2.Read(f, imageBytes)
	if err != nil {
		t.Fatal(err)
	}
	return &image{File: f, v: unlock.Volume{Name: filepath.Base(path), Header: h}}
}

// bind runs the script until it has bound the volumes; the server lives as
// long as the test.
func bind(t *testing.T, root, dir, chip, bindings string) {
	t.Helper()
	blank := filepath.Join(dir, "new.img")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "old"), []byte("old"), 0o600), os.WriteFile(blank, nil, 0o600), os.Truncate(blank, imageBytes)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script, "sh", root, dir, fmt.Sprint(port), chip, bindings)
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
