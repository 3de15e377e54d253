package k8s_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	wire "k8s.io/kms/apis/v2"

	"latchkey/internal/secret"
	"latchkey/kms/server/k8s"
)

// A keeper whose ciphertext is the plaintext behind a mark.
type keeper struct {
	err error
	uid string
}

func (k *keeper) KeyID(context.Context) (string, error) { return "shop-1", k.err }

func (k *keeper) Encrypt(_ context.Context, uid string, plain secret.Bytes) ([]byte, string, error) {
	k.uid = uid
	return append([]byte("sealed "), plain.Reveal()...), "shop-1", k.err
}

func (k *keeper) Decrypt(_ context.Context, uid, keyID string, sealed []byte) (secret.Bytes, error) {
	plain, ok := bytes.CutPrefix(bytes.Clone(sealed), []byte("sealed "))
	if !ok || keyID != "shop-1" {
		return secret.Bytes{}, fmt.Errorf("decrypting: %w", k8s.ErrSealed)
	}
	return secret.Own(plain), k.err
}

func TestEncryptDecrypt(t *testing.T) {
	k := &keeper{}
	s := k8s.NewService(k, slog.New(slog.DiscardHandler))
	ctx := context.Background()
	seed := bytes.Repeat([]byte{7}, 32)
	e, err := s.Encrypt(ctx, &wire.EncryptRequest{Uid: "a-1\n level=ERROR", Plaintext: bytes.Clone(seed)})
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(k.uid, "\n =") {
		t.Errorf("the keeper, and so a log, was given the id %q", k.uid)
	}

	d, err := s.Decrypt(ctx, &wire.DecryptRequest{Uid: "a-2", KeyId: e.KeyId, Ciphertext: e.Ciphertext})
	if err != nil || !bytes.Equal(d.Plaintext, seed) {
		t.Errorf("Decrypt(Encrypt(seed)) = %x, %v, want the seed", d.GetPlaintext(), err)
	}
	st, err := s.Status(ctx, &wire.StatusRequest{})
	if err != nil || st.Version != "v2" || st.Healthz != "ok" || st.KeyId != e.KeyId {
		t.Errorf("Status = %v, %v, want v2, ok and the id that Encrypt gave", st, err)
	}
}

// TestErrors: what does not open is the caller's error and never other
// bytes; what fails here is worth another try, and says nothing more.
func TestErrors(t *testing.T) {
	ctx := context.Background()
	s := k8s.NewService(&keeper{}, slog.New(slog.DiscardHandler))
	away := k8s.NewService(&keeper{err: errors.New("etcd at 192.0.2.9 is away")}, slog.New(slog.DiscardHandler))
	for _, row := range []struct {
		name string
		call func() error
		want codes.Code
	}{
		{"nothing to encrypt", func() error { _, err := s.Encrypt(ctx, &wire.EncryptRequest{}); return err }, codes.InvalidArgument},
		{"too much to encrypt", func() error {
			_, err := s.Encrypt(ctx, &wire.EncryptRequest{Plaintext: make([]byte, k8s.MaxPlain+1)})
			return err
		}, codes.InvalidArgument},
		{"damaged", func() error {
			_, err := s.Decrypt(ctx, &wire.DecryptRequest{KeyId: "shop-1", Ciphertext: []byte("?")})
			return err
		}, codes.InvalidArgument},
		{"another key", func() error {
			_, err := s.Decrypt(ctx, &wire.DecryptRequest{KeyId: "shop-2", Ciphertext: []byte("sealed x")})
			return err
		}, codes.InvalidArgument},
		{"annotations", func() error {
			_, err := s.Decrypt(ctx, &wire.DecryptRequest{KeyId: "shop-1", Ciphertext: []byte("sealed x"), Annotations: map[string][]byte{"a": nil}})
			return err
		}, codes.InvalidArgument},
		{"status, store away", func() error { _, err := away.Status(ctx, &wire.StatusRequest{}); return err }, codes.Unavailable},
		{"encrypt, store away", func() error { _, err := away.Encrypt(ctx, &wire.EncryptRequest{Plaintext: []byte("x")}); return err }, codes.Unavailable},
		{"decrypt, store away", func() error {
			_, err := away.Decrypt(ctx, &wire.DecryptRequest{KeyId: "shop-1", Ciphertext: []byte("sealed x")})
			return err
		}, codes.Unavailable},
	} {
		err := row.call()
		if status.Code(err) != row.want || strings.Contains(err.Error(), "192.0.2.9") {
			t.Errorf("%s: %v, want %v and no word of the store", row.name, err, row.want)
		}
	}
}
