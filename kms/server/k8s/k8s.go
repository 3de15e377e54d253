// Package k8s answers a Kubernetes API server: the KMS v2 plugin, by which it
// has the seed sealed that encrypts its Secrets, and v1 for old ones. It is asked over a Unix
// socket; who may open that is the file system's business.
package k8s

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	wire "k8s.io/kms/apis/v2"

	"latchkey/internal/secret"
)

// MaxPlain bounds what is encrypted, in bytes: the API server's seeds have
// 32, and it takes no ciphertext of more than 1,024.
const MaxPlain = 900

// ErrSealed is a ciphertext that does not open: damaged, another key's, or
// of a version that is retired.
var ErrSealed = errors.New("the ciphertext does not open")

// A Keeper encrypts with the newest version of one named key, and decrypts
// with all that are not retired.
type Keeper interface {
	// KeyID names the newest version, and says whether it can be used now.
	// It is asked every few seconds and must be cheap.
	KeyID(ctx context.Context) (string, error)
	// Encrypt returns the ciphertext and the id of the version.
	Encrypt(ctx context.Context, uid string, plain secret.Bytes) (sealed []byte, keyID string, err error)
	// Decrypt returns an error wrapping ErrSealed for what does not open.
	Decrypt(ctx context.Context, uid, keyID string, sealed []byte) (secret.Bytes, error)
}

// A Service implements v2.KeyManagementService.
type Service struct {
	wire.UnimplementedKeyManagementServiceServer
	keeper Keeper
	log    *slog.Logger
}

// NewService makes one; it is registered with a server of package rpc.
func NewService(k Keeper, log *slog.Logger) *Service { return &Service{keeper: k, log: log} }

// Status implements v2.KeyManagementServiceServer. An error, not another
// healthz, is how the API server learns that it must not go on with the
// seed that it has.
func (s *Service) Status(ctx context.Context, _ *wire.StatusRequest) (*wire.StatusResponse, error) {
	id, err := s.keeper.KeyID(ctx)
	if err != nil {
		return nil, failed(s.log, "status", "", err)
	}
	return &wire.StatusResponse{Version: "v2", Healthz: "ok", KeyId: id}, nil
}

// Encrypt implements v2.KeyManagementServiceServer.
func (s *Service) Encrypt(ctx context.Context, r *wire.EncryptRequest) (*wire.EncryptResponse, error) {
	plain := secret.Own(r.Plaintext)
	defer plain.Wipe()
	if plain.Len() == 0 || plain.Len() > MaxPlain {
		return nil, status.Errorf(codes.InvalidArgument, "plaintext of %d bytes: 1 to %d are taken", plain.Len(), MaxPlain)
	}
	sealed, id, err := s.keeper.Encrypt(ctx, short(r.Uid), plain)
	if err != nil {
		return nil, failed(s.log, "encrypt", r.Uid, err)
	}
	return &wire.EncryptResponse{Ciphertext: sealed, KeyId: id}, nil
}

// Decrypt implements v2.KeyManagementServiceServer: the plaintext or an
// error, never other bytes.
func (s *Service) Decrypt(ctx context.Context, r *wire.DecryptRequest) (*wire.DecryptResponse, error) {
	if len(r.Annotations) != 0 {
		return nil, status.Error(codes.InvalidArgument, "annotations, which this server never made")
	}
	plain, err := s.keeper.Decrypt(ctx, short(r.Uid), r.KeyId, r.Ciphertext)
	if err != nil {
		return nil, failed(s.log, "decrypt", r.Uid, err)
	}
	// gRPC encodes the answer after this returns, so it cannot be wiped here.
	return &wire.DecryptResponse{Plaintext: plain.Reveal()}, nil
}

func failed(log *slog.Logger, operation, uid string, err error) error {
	log.Error("answering", "protocol", "k8s", "operation", operation, "uid", short(uid), "err", err)
	if errors.Is(err, ErrSealed) {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return status.Error(codes.Unavailable, "the key server cannot answer now; its log says why")
}

// short makes a request's id fit for a log: the API server sends a UUID.
func short(uid string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, uid[:min(len(uid), 64)])
}
