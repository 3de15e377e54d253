package k8s_test

//lint:file-ignore SA1019 KMS v1 is deprecated, and all that old API servers speak

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	old "k8s.io/kms/apis/v1beta1"

	"latchkey/kms/server/k8s"
)

func TestV1(t *testing.T) {
	ctx, seed := context.Background(), bytes.Repeat([]byte{7}, 32)
	k := &keeper{}
	s := k8s.NewServiceV1(k, slog.New(slog.DiscardHandler))
	if v, err := s.Version(ctx, &old.VersionRequest{Version: "v1beta1"}); err != nil || v.Version != "v1beta1" || v.RuntimeName != "latchkey-kms" {
		t.Errorf("Version = %v, %v", v, err)
	}
	e, err := s.Encrypt(ctx, &old.EncryptRequest{Version: "v1beta1", Plain: bytes.Clone(seed)})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Decrypt(ctx, &old.DecryptRequest{Version: "v1beta1", Cipher: e.Cipher})
	if err != nil || !bytes.Equal(d.Plain, seed) {
		t.Errorf("Decrypt(Encrypt(seed)) = %x, %v, want the seed", d.GetPlain(), err)
	}

	// Every part of it counts: cut anywhere, or altered, it does not open.
	spoil := func(name string, cipher []byte) {
		t.Helper()
		if d, err := s.Decrypt(ctx, &old.DecryptRequest{Cipher: cipher}); status.Code(err) != codes.InvalidArgument || d != nil {
			t.Errorf("%s: %v, %v, want InvalidArgument", name, d, err)
		}
	}
	for n := range len(e.Cipher) - len("sealed ") - len(seed) + len("sealed") {
		spoil("cut off", e.Cipher[:n])
		altered := bytes.Clone(e.Cipher)
		altered[n] ^= 1
		spoil("altered", altered)
	}
	spoil("a ciphertext of v2", append([]byte("sealed "), seed...))

	for name, plain := range map[string][]byte{"nothing": nil, "too much": make([]byte, k8s.MaxPlain+1)} {
		if _, err := s.Encrypt(ctx, &old.EncryptRequest{Plain: plain}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("encrypting %s: %v, want InvalidArgument", name, err)
		}
	}
	k.err = errors.New("the store is away")
	if _, err := s.Encrypt(ctx, &old.EncryptRequest{Plain: seed}); status.Code(err) != codes.Unavailable {
		t.Errorf("encrypting without a store: %v, want Unavailable", err)
	}
	if _, err := s.Decrypt(ctx, &old.DecryptRequest{Cipher: e.Cipher}); status.Code(err) != codes.Unavailable {
		t.Errorf("decrypting without a store: %v, want Unavailable", err)
	}
}
