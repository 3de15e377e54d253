package server_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	k8skeeper "latchkey/kms/server/k8s/keeper"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	plugin "k8s.io/kms/apis/v2"

	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/server/k8s"
	"latchkey/kms/store"
)

// seed is what an API server has encrypted; it must not be seen.
var seed = []byte("canary-seed-of-kube-apiserver-32")

// plug serves a named key on a Unix socket and returns Kubernetes' own
// client of it.
func (f *fixture) plug(name string) plugin.KeyManagementServiceClient {
	f.t.Helper()
	g, err := server.NewK8s(context.Background(), f.Server, name, false)
	if err != nil {
		f.t.Fatal(err)
	}

	path := filepath.Join(f.t.TempDir(), "kms.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		f.t.Fatal(err)
	}

	go g.Serve(l)
	f.t.Cleanup(g.Stop)
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.t.Fatal(err)
	}

	f.t.Cleanup(func() { conn.Close() })
	return plugin.NewKeyManagementServiceClient(conn)
}

// sealSeed encrypts as an API server does: with the key that Status names.
func sealSeed(t *testing.T, c plugin.KeyManagementServiceClient) *plugin.EncryptResponse {
	t.Helper()
	st, err := c.Status(context.Background(), &plugin.StatusRequest{})
	if err != nil || st.Version != "v2" || st.Healthz != "ok" || len(st.KeyId) < 1 || len(st.KeyId) > 1024 {
		t.Fatalf("Status = %v, %v, want v2, ok and a key id", st, err)
	}
	r, err := c.Encrypt(context.Background(), &plugin.EncryptRequest{Plaintext: seed, Uid: "1f"})
	if err != nil || r.KeyId != st.KeyId || len(r.Ciphertext) > 1024 || bytes.Contains(r.Ciphertext, seed[:8]) || len(r.Annotations) > 0 {
		t.Fatalf("Encrypt = %v, %v, want at most 1,024 bytes of key %s", r, err, st.KeyId)
	}
	return r
}

func openSeed(c plugin.KeyManagementServiceClient, r *plugin.EncryptResponse) ([]byte, error) {
	out, err := c.Decrypt(context.Background(), &plugin.DecryptRequest{Ciphertext: r.Ciphertext, KeyId: r.KeyId, Uid: "2f"})
	return out.GetPlaintext(), err
}

func wantSeed(t *testing.T, c plugin.KeyManagementServiceClient, r *plugin.EncryptResponse) {
	t.Helper()
	if plain, err := openSeed(c, r); err != nil || !bytes.Equal(plain, seed) {
		t.Errorf("Decrypt = %q, %v, want the seed", plain, err)
	}
}

func TestK8sRotation(t *testing.T) {
	ctx := context.Background()
	f := newKMS(t)
	c := f.plug("east")
	old := sealSeed(t, c)
	wantSeed(t, c, old)
	if again := sealSeed(t, c); again.KeyId != old.KeyId || bytes.Equal(again.Ciphertext, old.Ciphertext) {
		t.Error("the key id changed without a rotation, or a ciphertext repeats")
	}

	if _, err := f.RotateKey(ctx, k8skeeper.RingName("east")); err != nil {
		t.Fatal(err)
	}
	fresh := sealSeed(t, c)
	if fresh.KeyId == old.KeyId {
		t.Error("the key id is the same after a rotation")
	}

	wantSeed(t, c, old)
	wantSeed(t, c, fresh)
	if _, err := f.RetireKey(ctx, k8skeeper.RingName("east"), 1, false); err != nil {
		t.Fatal(err)
	}

	if plain, err := openSeed(c, old); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "retired") {
		t.Errorf("Decrypt under a retired key = %q, %v, want an error that says so", plain, err)
	}
	wantSeed(t, c, fresh)
	var seen []string
	for _, e := range f.log() {
		seen = append(seen, e.Event)
	}

	if got := strings.Join(seen, " "); !strings.Contains(got, "key rotate k8s encrypt k8s decrypt k8s encrypt key rotate") {
		t.Errorf("the log has %s", got)
	}
}

// Bad input is an error, never other bytes.
func TestK8sRefusals(t *testing.T) {
	f := newKMS(t)
	c, west := f.plug("east"), f.plug("west")
	good, theirs := sealSeed(t, c), sealSeed(t, west)
	with := func(change func(*plugin.DecryptRequest)) *plugin.DecryptRequest {
		r := &plugin.DecryptRequest{Ciphertext: bytes.Clone(good.Ciphertext), KeyId: good.KeyId}
		change(r)
		return r
	}
	rows := map[string]*plugin.DecryptRequest{
		"another key's":          with(func(r *plugin.DecryptRequest) { r.Ciphertext = theirs.Ciphertext }),
		"another key's, its id":  {Ciphertext: theirs.Ciphertext, KeyId: theirs.KeyId},
		"ours, another key's id": with(func(r *plugin.DecryptRequest) { r.KeyId = theirs.KeyId }),
		"no key id":              with(func(r *plugin.DecryptRequest) { r.KeyId = "" }),
		"nothing":                with(func(r *plugin.DecryptRequest) { r.Ciphertext = nil }),
		"one byte":               with(func(r *plugin.DecryptRequest) { r.Ciphertext = r.Ciphertext[:1] }),
		"cut short":              with(func(r *plugin.DecryptRequest) { r.Ciphertext = r.Ciphertext[:20] }),
		"too long":               with(func(r *plugin.DecryptRequest) { r.Ciphertext = append(r.Ciphertext, 0) }),
		"annotations":            with(func(r *plugin.DecryptRequest) { r.Annotations = map[string][]byte{"a.b": {1}} }),
	}
	for i := range good.Ciphertext {
		rows["byte "+string(rune('a'+i))] = with(func(r *plugin.DecryptRequest) { r.Ciphertext[i] ^= 0x80 })
	}

	for name, r := range rows {
		if out, err := c.Decrypt(context.Background(), r); status.Code(err) != codes.InvalidArgument || len(out.GetPlaintext()) > 0 {
			t.Errorf("%s: Decrypt = %q, %v, want InvalidArgument", name, out.GetPlaintext(), err)
		}
	}

	for _, n := range []int{0, k8s.MaxPlain + 1} {
		if _, err := c.Encrypt(context.Background(), &plugin.EncryptRequest{Plaintext: make([]byte, n)}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("Encrypt of %d bytes: %v, want InvalidArgument", n, err)
		}
	}

	if r, err := c.Encrypt(context.Background(), &plugin.EncryptRequest{Plaintext: make([]byte, k8s.MaxPlain)}); err != nil || len(r.Ciphertext) > 1024 {
		t.Errorf("Encrypt of the most: %d bytes, %v, want at most 1,024", len(r.GetCiphertext()), err)
	}
	wantSeed(t, c, good)
}

// F23: on a full disk all calls are errors, Status too, so that the API
// server knows; when there is room again, all goes on without a restart.
func TestK8sFullDisk(t *testing.T) {
	disk := &full{}
	f := newKMS(t, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store {
			disk.Store = st
			return disk
		}
	})

	c := f.plug("east")
	good := sealSeed(t, c)
	disk.on.Store(true)
	if plain, err := openSeed(c, good); status.Code(err) != codes.Unavailable {
		t.Errorf("Decrypt on a full disk = %q, %v, want Unavailable", plain, err)
	}

	if _, err := c.Encrypt(context.Background(), &plugin.EncryptRequest{Plaintext: seed}); status.Code(err) != codes.Unavailable {
		t.Errorf("Encrypt on a full disk: %v, want Unavailable", err)
	}
	if _, err := c.Status(context.Background(), &plugin.StatusRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("Status on a full disk: %v, want Unavailable", err)
	}

	disk.on.Store(false)
	wantSeed(t, c, good)
	sealSeed(t, c)
}

// Health is found out without anybody asking, both ways.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &full{}
		f := newKMS(t, inMemory, func(f *fixture) {
			f.wrap = func(st store.Store) store.Store {
				disk.Store = st
				return disk
			}
		})

		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan bool)
		go func() { f.Watch(ctx); close(ended) }()
		time.Sleep(time.Minute)
		if err := f.Ready(); err != nil {
			t.Errorf("Ready = %v", err)
		}

		disk.on.Store(true)
		time.Sleep(time.Minute)
		if err := f.Ready(); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("Ready on a full disk = %v, want that there is no space", err)
		}
		disk.on.Store(false)
		time.Sleep(5 * time.Second)
		if err := f.Ready(); err != nil {
			t.Errorf("Ready 5 s after there was room = %v", err)
		}

		// Found by somebody else, between two looks of ours.
		disk.on.Store(true)
		if _, err := f.RotateKey(ctx, k8skeeper.RingName("east")); err == nil {
			t.Error("a key was rotated on a full disk")
		}
		disk.on.Store(false)
		time.Sleep(5 * time.Second)
		if err := f.Ready(); err != nil {
			t.Errorf("Ready 5 s after there was room, by somebody else's failure = %v", err)
		}

		stop()
		<-ended
	})
}

// Another signing key and another wrapping key change nothing for what is
// encrypted already, nor for the name of the key that encrypts.
func TestKubeKeyOutlivesOtherKeys(t *testing.T) {
	f := newKMS(t)
	c := f.plug("east")
	sealed := sealSeed(t, c)
	old := f.Pins()[0]
	if _, err := f.AddKey(ctx); err != nil {
		t.Fatal(err)
	}

	if _, err := f.UseKey(ctx, f.Pins()[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := f.RetireSigningKey(ctx, old, false); err != nil {
		t.Fatal(err)
	}

	wantSeed(t, c, sealed)
	if again := sealSeed(t, c); again.KeyId != sealed.KeyId {
		t.Errorf("the key's id became %s, was %s", again.KeyId, sealed.KeyId)
	}
}

// faults/kms.md M10: after a restore the next version is another key, and
// has another id, so that the API server encrypts anew.
func TestKeyIDAfterRestore(t *testing.T) {
	f := newKMS(t)
	first := sealSeed(t, f.plug("east")).KeyId
	f.web.Close()
	f.Close()
	db, err := os.ReadFile(f.path())
	if err != nil {
		t.Fatal(err)
	}

	ids := map[string]bool{first: true}
	for range 2 {
		if err := os.WriteFile(f.path(), db, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := f.mark().Write(ledger.Position{}); err != nil {
			t.Fatal(err)
		}
		if err := f.start(); err != nil {
			t.Fatal(err)
		}
		if _, err := f.RotateKey(ctx, k8skeeper.RingName("east")); err != nil {
			t.Fatal(err)
		}
		id := sealSeed(t, f.plug("east")).KeyId
		if ids[id] {
			t.Errorf("the id %s names two keys", id)
		}
		ids[id] = true
		f.web.Close()
		f.Close()
	}
}
