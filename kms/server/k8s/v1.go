package k8s

//lint:file-ignore SA1019 KMS v1 is deprecated, and all that old API servers speak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	old "k8s.io/kms/apis/v1beta1"

	"latchkey/internal/secret"
	"latchkey/internal/version"
)

// A ServiceV1 implements v1beta1.KeyManagementService, for API servers before
// 1.29: they ask for one encryption with each Secret, and remember no key id,
// so it stands in the ciphertext.
type ServiceV1 struct {
	old.UnimplementedKeyManagementServiceServer
	keeper Keeper
	log    *slog.Logger
}

// NewServiceV1 makes one.
func NewServiceV1(k Keeper, log *slog.Logger) *ServiceV1 { return &ServiceV1{keeper: k, log: log} }

// Version implements v1beta1.KeyManagementServiceServer.
func (s *ServiceV1) Version(context.Context, *old.VersionRequest) (*old.VersionResponse, error) {
	return &old.VersionResponse{Version: "v1beta1", RuntimeName: "latchkey-kms", RuntimeVersion: version.String()}, nil
}

// uidV1 stands in the audit log for the id that a request has in v2.
const uidV1 = "v1"

// Encrypt implements v1beta1.KeyManagementServiceServer.
func (s *ServiceV1) Encrypt(ctx context.Context, r *old.EncryptRequest) (*old.EncryptResponse, error) {
	plain := secret.Own(r.Plain)
	defer plain.Wipe()
	if plain.Len() == 0 || plain.Len() > MaxPlain {
		return nil, status.Errorf(codes.InvalidArgument, "plaintext of %d bytes: 1 to %d are taken", plain.Len(), MaxPlain)
	}
	sealed, id, err := s.keeper.Encrypt(ctx, uidV1, plain)
	if err != nil {
		return nil, failed(s.log, "encrypt", uidV1, err)
	}
	cipher, err := withID(id, sealed)
	if err != nil {
		return nil, failed(s.log, "encrypt", uidV1, err)
	}
	return &old.EncryptResponse{Cipher: cipher}, nil
}

// Decrypt implements v1beta1.KeyManagementServiceServer: the plaintext or an
// error, never other bytes.
func (s *ServiceV1) Decrypt(ctx context.Context, r *old.DecryptRequest) (*old.DecryptResponse, error) {
	id, sealed, err := cutID(r.Cipher)
	var plain secret.Bytes
	if err == nil {
		plain, err = s.keeper.Decrypt(ctx, uidV1, id, sealed)
	}
	if err != nil {
		return nil, failed(s.log, "decrypt", uidV1, err)
	}
	return &old.DecryptResponse{Plain: plain.Reveal()}, nil // encoded after this returns: not to be wiped here
}

// idMark is how a ciphertext of v1 begins; the length of the id in a byte, the
// id and what was sealed follow.
var idMark = []byte("latchkey-v1\x00")

func withID(id string, sealed []byte) ([]byte, error) {
	if len(id) > 255 {
		return nil, errors.New("the key's id has more than 255 bytes")
	}
	return append(append(append(bytes.Clone(idMark), byte(len(id))), id...), sealed...), nil
}

func cutID(cipher []byte) (id string, sealed []byte, err error) {
	rest, ours := bytes.CutPrefix(cipher, idMark)
	if !ours || len(rest) == 0 || len(rest) < 1+int(rest[0]) {
		return "", nil, fmt.Errorf("%w: it is none of ours, or cut off", ErrSealed)
	}
	n := 1 + int(rest[0])
	return string(rest[1:n]), rest[n:], nil
}
