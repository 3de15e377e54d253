package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/boot/codes"
	"latchkey/internal/cli"
	"latchkey/internal/secret"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/clevis/clevistest"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/tpm"
)

// An opened is what reached device-mapper.
type opened struct {
	dm.Target
	uuid string
}

// open runs "volume open" with a fake device-mapper.
func (b *bench) open(o openVolume, path, name string) (*opened, string, error) {
	b.t.Helper()
	c := volumeOpenCommand()
	var out strings.Builder
	c.SetOut(&out)
	c.SetIn(strings.NewReader("")) // no terminal
	if o.tpm == "" {
		o.tpm = filepath.Join(b.dir, "chip.sock")
	}
	var got *opened
	err := o.run(b.t.Context(), c, path, name, func(t dm.Target, k luks2.VolumeKey) error {
		got = &opened{t, k.UUID()}
		return nil
	})
	return got, out.String(), err
}

// plan writes a latchkey.yaml for a volume.
func (b *bench) plan(path, sources, fields string) string {
	b.t.Helper()
	f, h, err := readVolume(path)
	b.check(err)
	defer f.Close()
	file := filepath.Join(b.dir, "plan.yaml")
	b.check(os.WriteFile(file, fmt.Appendf(nil, "trust: {kms: [%q]}\nvolumes: [{uuid: %s, name: data%s, sources: [%s]}]\n", b.pin, h.UUID(), fields, sources), 0o600))
	return file
}

// bind gives a volume a keyslot with a token.
func (b *bench) bind(path string, key secret.Bytes, token func(slot int) json.RawMessage) {
	b.t.Helper()
	f, h, err := changeVolume(path)
	b.check(err)
	defer f.Close()
	volume, _, err := h.Unlock(b.t.Context(), f, attempt(b.key, luks2.AnySlot))
	b.check(err)
	_, _, err = h.AddKey(f, volume, luks2.NewKey{Passphrase: key, Slot: luks2.AnySlot, Random: true, Token: token})
	b.check(err)
}

// serve has a tang server answer, and returns its URL.
func (b *bench) serve(tang *clevistest.Tang) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	b.check(err)
	b.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go tang.Serve(conn)
		}
	}()
	return "http://" + listener.Addr().String()
}

// exitCode is what a command ends with besides 1.
func exitCode(err error) int {
	if e, ok := errors.AsType[*cli.Exit](err); ok {
		return e.Code
	}
	return 0
}

// Each source opens on a running machine what it opens in a boot, with the
// plan's name and options, and what it refuses has the boot's code.
func TestOpen(t *testing.T) {
	b := newBench(t)
	path, e := b.volume("vol")
	_, err := b.commit(path, e, 1000) // keyslot 1, by the KMS
	b.check(err)

	socket, err := b.chip("tpm2")
	b.check(err)
	chip, err := tpm.Open(socket)
	b.check(err)
	sealed, token, err := cryptenroll.Bind(t.Context(), chip, cryptenroll.Request{PCRs: []int{7}})
	b.check(errors.Join(err, chip.Close()))
	other, _ := b.volume("other")
	b.bind(other, sealed, token)
	name := cryptenroll.Describe(token(1)).Sealed
	stranger := strings.Repeat("ab", 32)

	tang := clevistest.New(elliptic.P521())
	third, _ := b.volume("third")
	b.bind(third, secret.Own([]byte("what clevis has bound, of 256 bits")), func(slot int) json.RawMessage {
		return clevistest.Token(tang.Seal(b.serve(tang), []byte("what clevis has bound, of 256 bits")), slot)
	})

	keyFile, wrong := filepath.Join(b.dir, "key"), filepath.Join(b.dir, "wrong")
	b.check(errors.Join(os.WriteFile(keyFile, b.key.Reveal(), 0o600), os.WriteFile(wrong, []byte("wrong"), 0o600)))

	for _, tt := range []struct {
		name, path, sources, fields string
		open                        openVolume
		by                          string // "" is closed
		slot                        int
		code                        string
		exit                        int
	}{
		{"a key file", path, "", "", openVolume{keyFile: keyFile}, "key-file", 0, "", 0},
		{"a wrong key file", path, "", "", openVolume{keyFile: wrong}, "", 0, "wrong-key", cli.WrongKey},
		{"the key server", path, "kms", ", options: [discard]", openVolume{kms: b.url}, "kms", 1, "", 0},
		{"no key server is named", path, "kms", "", openVolume{}, "", 0, "failed", 0},
		{"a volume that the key server has no key for", other, "kms", "", openVolume{kms: b.url}, "", 0, "no-secret", cli.Refused},
		{"the TPM", other, "'systemd-tpm2: {sealed: [" + name + "]}'", "", openVolume{tpm: socket}, "systemd-tpm2", 1, "", 0},
		{"a secret that the plan does not allow", other, "'systemd-tpm2: {sealed: [" + stranger + "]}'", "", openVolume{tpm: socket}, "", 0, "systemd-token", 0},
		{"the next source", other, "'systemd-tpm2: {sealed: [" + stranger + "]}', 'key-file: {path: " + keyFile + "}'", "", openVolume{tpm: socket}, "key-file", 0, "", 0},
		{"only one source", other, "'systemd-tpm2: {sealed: [" + stranger + "]}', 'key-file: {path: " + keyFile + "}'", "", openVolume{tpm: socket, source: "systemd-tpm2"}, "", 0, "systemd-token", 0},
		{"a source that the plan does not list", other, "kms", "", openVolume{source: "clevis"}, "", 0, "failed", cli.Usage},
		{"a tang server", third, "'clevis: {tang: [" + tang.Thumbprint() + "]}'", "", openVolume{}, "clevis", 1, "", 0},
		{"a key on a stick", third, "'key-file: {device: LABEL=KEYS, path: key}'", "", openVolume{}, "", 0, "failed", 0},
		{"another volume than the plan pins", other, "'key-file: {path: " + keyFile + "}'", ", digest: " + stranger, openVolume{}, "", 0, "volume-locked", 0},
		{"nobody to ask", third, "", "", openVolume{}, "", 0, "failed", cli.Usage},
	} {
		if tt.sources != "" {
			tt.open.plan = b.plan(tt.path, strings.ReplaceAll(tt.sources, "'", ""), tt.fields)
		}
		mapping := ""
		if tt.open.plan == "" {
			mapping = "data"
		}
		got, out, err := b.open(tt.open, tt.path, mapping)
		if tt.by == "" {
			if got != nil || err == nil || codes.Of(err) != tt.code || exitCode(err) != tt.exit {
				t.Errorf("%s: mapped %v, %v with code %s and exit code %d, want %s, %d", tt.name, got, err, codes.Of(err), exitCode(err), tt.code, tt.exit)
			}
			continue
		}
		want := fmt.Sprintf("keyslot %d of volume ", tt.slot)
		if err != nil || got == nil || got.Name != "data" || got.Device != tt.path || !strings.HasPrefix(out, want) || !strings.HasSuffix(out, "("+tt.by+")\n") {
			t.Errorf("%s: mapped %v, %q, %v, want %s… (%s)", tt.name, got, out, err, want, tt.by)
		}
		if got != nil && got.Options.AllowDiscards != strings.Contains(tt.fields, "discard") {
			t.Errorf("%s: options %+v", tt.name, got.Options)
		}
	}

	// In a boot that has opened its volumes the key server gives nothing.
	dev, err := tpm.Open(filepath.Join(b.dir, "chip.sock"))
	b.check(err)
	b.check(errors.Join(dev.Extend(context.Background(), 15, func(h crypto.Hash) []byte { return make([]byte, h.Size()) }), dev.Close()))
	if got, _, err := b.open(openVolume{kms: b.url, plan: b.plan(path, "kms", "")}, path, ""); got != nil || codes.Of(err) != codes.PCR15Used {
		t.Errorf("after PCR 15 was extended: mapped %v, %v, want %s", got, err, codes.PCR15Used)
	}
}

// typist is a terminal at which somebody types lines: a read gives one.
type typist struct {
	lines []string
	out   bytes.Buffer
}

func (c *typist) Read(p []byte) (int, error) {
	if len(c.lines) == 0 {
		return 0, errors.New("nobody types any more")
	}
	n := copy(p, c.lines[0]+"\n")
	c.lines = c.lines[1:]
	return n, nil
}
func (c *typist) Write(p []byte) (int, error) { return c.out.Write(p) }
func (c *typist) Close() error                { return nil }

// Without a source a person is asked, as at a boot's console, until the
// volume is open, or cannot be mapped.
func TestOpenAsks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vol")
	b := &bench{t: t, lab: &lab{dir: dir}, key: secret.Own([]byte("correct horse battery staple and more"))}
	f, err := os.Create(path)
	b.check(err)
	b.check(f.Truncate(2 << 20))
	_, _, err = luks2.Format(f, luks2.NewVolume{SizeBytes: 2 << 20, OffsetBytes: 1 << 20}, luks2.NewKey{Passphrase: b.key, Random: true})
	b.check(errors.Join(err, f.Close()))

	console := &typist{lines: []string{"wrong", string(b.key.Reveal())}}
	o := openVolume{console: func() (io.ReadWriteCloser, error) { return console, nil }}
	got, out, err := b.open(o, path, "data")
	if err != nil || got == nil || !strings.HasSuffix(out, "(prompt)\n") || !strings.Contains(console.out.String(), "0 of 1 volumes open with what was typed") {
		t.Errorf("typed: mapped %v, %q, %v; the terminal shows %q", got, out, err, console.out.String())
	}

	console.lines = []string{string(b.key.Reveal())}
	c := volumeOpenCommand()
	failed := errors.New("no device-mapper")
	if err := o.run(t.Context(), c, path, "data", func(dm.Target, luks2.VolumeKey) error { return failed }); codes.Of(err) != "mapping" || !errors.Is(err, failed) {
		t.Errorf("a mapping that fails: %v, want code mapping", err)
	}
}

// Close removes mappings of LUKS only.
func TestCloseMapping(t *testing.T) {
	sys := t.TempDir()
	for i, m := range []struct{ name, uuid string }{{"data", "CRYPT-LUKS2-6d9a2c7e0b1f4b7e9d2c3f5a8e1b4c60-data\n"}, {"vg-root", "LVM-abc\n"}} {
		dir := filepath.Join(sys, fmt.Sprintf("dm-%d", i), "dm")
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "name"), []byte(m.name+"\n"), 0o600), os.WriteFile(filepath.Join(dir, "uuid"), []byte(m.uuid), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	var removed []string
	remove := func(name string) error { removed = append(removed, name); return nil }
	for name, ok := range map[string]bool{"data": true, "vg-root": false, "other": false, "../x": false} {
		if err := closeMapping(sys, name, remove); (err == nil) != ok {
			t.Errorf("closeMapping(%q) = %v", name, err)
		}
	}
	if len(removed) != 1 || removed[0] != "data" {
		t.Errorf("removed %q, want data alone", removed)
	}
}
