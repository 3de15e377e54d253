package talos_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/siderolabs/go-blockdevice/v2/encryption"
	"github.com/siderolabs/go-blockdevice/v2/encryption/luks"
	"github.com/siderolabs/go-blockdevice/v2/encryption/token"
	sidero "github.com/siderolabs/kms-client/api/kms"
	"github.com/siderolabs/kms-client/pkg/server"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"latchkey/boot/codes"
	"latchkey/internal/unary"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source"
	"latchkey/unlock/source/talos"
)

const node = "4c4c4544-0042-3510-8052-b4c04f4d3632"

// image is an Opener of one volume in an image file, as unlock opens it.
type image struct {
	*os.File
	v    unlock.Volume
	slot int // that was opened, -1: none
}

func (i *image) Closed() []*unlock.Volume   { return []*unlock.Volume{&i.v} }
func (i *image) Needed(*unlock.Volume) bool { return true }

func (i *image) Try(ctx context.Context, o source.Offer) []error {
	k := o.Keys[0]
	if k.Err != nil {
		return []error{k.Err}
	}
	all, err := k.Passphrases(ctx)
	if err != nil {
		return []error{err}
	}
	for _, slot := range all[0].Slots {
		var key luks2.VolumeKey
		if key, i.slot, err = i.v.Header.Unlock(ctx, i, luks2.Attempt{Passphrase: all[0].Passphrase, Slot: slot}); err == nil {
			key.Wipe()
			return []error{nil}
		}
	}
	i.slot = -1
	return []error{err}
}

// dialer is an Asker without a search.
type dialer struct{ addr string }

func (d dialer) Ask(ctx context.Context, _, method string, request []byte, take func([]byte) error) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	reply, err := unary.Do(ctx, conn, unary.Call{Scheme: "http", Authority: d.addr, Method: method, Request: request, Reply: talos.MaxReply})
	if err != nil {
		return err
	}
	return take(reply)
}

// reference is the KMS server of Sidero's kms-client.
func reference(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	key := bytes.Repeat([]byte{9}, 32)
	sidero.RegisterKMSServiceServer(g, server.NewServer(zap.NewNop(), func(context.Context, string) ([]byte, error) { return key, nil }))
	go g.Serve(l)
	t.Cleanup(g.Stop)
	return l.Addr().String()
}

// A disk is one that Talos' own library for disks formats.
type disk struct {
	t    *testing.T
	path string
	luks *luks.LUKS
	any  *encryption.Key
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	if _, err := exec.LookPath("cryptsetup"); err != nil {
		t.Skip("needs cryptsetup")
	}
	d := &disk{t: t, path: filepath.Join(t.TempDir(), "disk"), luks: luks.New(luks.AESXTSPlain64Cipher, luks.WithPBKDFForceIterations(4), luks.WithPBKDFMemory(32<<10))}
	if err := os.WriteFile(d.path, make([]byte, 18<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// add puts a key into a keyslot as Talos does, with its token if it has one.
func (d *disk) add(slot int, passphrase []byte, tok token.Token) {
	d.t.Helper()
	k := encryption.NewKey(slot, passphrase)
	var err error
	if d.any == nil {
		d.any, err = k, d.luks.Encrypt(d.t.Context(), d.path, k)
	} else {
		err = d.luks.AddKey(d.t.Context(), d.path, d.any, k)
	}
	if err == nil && tok != nil {
		err = d.luks.SetToken(d.t.Context(), d.path, slot, tok)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) open() *image {
	d.t.Helper()
	f, err := os.Open(d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		d.t.Fatal(err)
	}
	h, err := luks2.Read(f, info.Size())
	if err != nil {
		d.t.Fatal(err)
	}
	return &image{f, unlock.Volume{Name: "state", Header: h}, -1}
}

// names are what volume inspect prints for the plan.
func names(h *luks2.Header) (all []string) {
	for _, t := range h.Tokens() {
		if b, ok := talos.Describe(t.Type, t.JSON); ok {
			all = append(all, b.Sealed)
		}
	}
	return all
}

func encoded(key []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(key)) }

// kmsToken is what Talos writes: internal/pkg/encryption/keys/kms.go.
type kmsToken struct {
	SealedData []byte `json:"sealedData"`
}

// TestKMSOfSidero: a disk that Talos' library made with a key of Sidero's
// reference server opens, and others do not.
//
// compatible: Kairos, Talos, Kubernetes | Talos' go-blockdevice, Sidero's kms-client | volumes with keys of a KMS and of the machine's identity open here
func TestKMSOfSidero(t *testing.T) {
	addr := reference(t)
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	key := make([]byte, talos.KeyBytes)
	rand.Read(key)
	sealed, err := sidero.NewKMSServiceClient(conn).Seal(t.Context(), &sidero.Request{NodeUuid: node, Data: key})
	if err != nil {
		t.Fatal(err)
	}
	d := newDisk(t)
	d.add(0, []byte(node+"STATE"), nil)
	d.add(1, encoded(key), &luks.Token[*kmsToken]{Type: "sideroKMS", UserData: &kmsToken{sealed.Data}})
	i := d.open()
	uuid := func() (string, error) { return node, nil }
	label := func(s string) func(*unlock.Volume) string { return func(*unlock.Volume) string { return s } }
	for _, row := range []struct {
		name   string
		source source.Source
		slot   int
		code   string // "" opens
	}{
		{"the KMS", &talos.KMS{URLs: []string{"http://a"}, Allowed: names(i.v.Header), UUID: uuid, Asker: dialer{addr}}, 1, ""},
		{"what the plan does not allow", &talos.KMS{URLs: []string{"http://a"}, UUID: uuid, Asker: dialer{addr}}, -1, talos.CodeToken},
		{"no machine", &talos.KMS{URLs: []string{"http://a"}, Allowed: names(i.v.Header), UUID: func() (string, error) { return "", os.ErrNotExist }, Asker: dialer{addr}}, -1, talos.CodeNode},
		{"nobody answers", &talos.KMS{URLs: []string{"http://a"}, Allowed: names(i.v.Header), UUID: uuid, Asker: dialer{"127.0.0.1:1"}}, -1, talos.CodeSilent},
		{"the identity", &talos.NodeID{UUID: uuid, Label: label("STATE")}, 0, ""},
		{"the identity for another volume", &talos.NodeID{UUID: uuid, Label: label("EPHEMERAL")}, -1, "failed"},
		{"no token of a TPM", &talos.TPM2{}, -1, "failed"},
	} {
		i.slot = -1
		err := row.source.Run(t.Context(), i)
		if i.slot != row.slot || codes.Of(err) != row.code {
			t.Errorf("%s: keyslot %d, %v, want %d, %q", row.name, i.slot, err, row.slot, row.code)
		}
	}
}
