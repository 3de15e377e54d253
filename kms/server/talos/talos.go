// Package talos answers machines of Talos Linux: the service
// sidero.kms.KMSService, to which they give the keys of their disks to seal
// and to unseal. A machine says a UUID and proves nothing; who gets what is
// the Keeper's business.
package talos

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/netip"

	wire "github.com/siderolabs/kms-client/api/kms"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// Sizes, in bytes: a machine seals exactly one key, and a blob must fit into
// the 12 KiB of a LUKS2 header's JSON, in base64, beside others.
const (
	KeySize  = 32
	MaxBlob  = 4 << 10
	BlobSize = 1 + 1 + 4 + 12 + KeySize + 16 // what Seal answers
)

// An Ask is a request. Nothing in it is proven but the address.
type Ask struct {
	UUID kms.UUID
	From netip.Addr
}

// A Refusal is a decision, or a request that nobody could be given anything
// for. From outside all look the same.
type Refusal struct{ Why string }

func (r *Refusal) Error() string { return r.Why }

// A Keeper decides who may seal and unseal, and does it.
type Keeper interface {
	// Seal seals a key of KeySize bytes. Its error is a *Refusal, or a
	// failure of the keeper's own.
	Seal(ctx context.Context, a Ask, key secret.Bytes) ([]byte, error)
	// Unseal opens what Seal made for the same machine. Errors are as those
	// of Seal.
	Unseal(ctx context.Context, a Ask, blob []byte) (secret.Bytes, error)
	// Noise tells whether refusals are to look like answers.
	Noise() bool
}

// A Service implements sidero.kms.KMSService.
type Service struct {
	wire.UnimplementedKMSServiceServer
	keeper Keeper
	log    *slog.Logger
}

// NewService makes one; it is registered with a server of package rpc.
func NewService(k Keeper, log *slog.Logger) *Service { return &Service{keeper: k, log: log} }

// errRefused is the answer to all that is refused, whatever the cause.
var errRefused = status.Error(codes.PermissionDenied, "refused")

// errFailed is a failure of ours: the machine asks again.
var errFailed = status.Error(codes.Unavailable, "try again later")

// Seal implements wire.KMSServiceServer.
func (s *Service) Seal(ctx context.Context, r *wire.Request) (*wire.Response, error) {
	key := secret.Own(r.Data)
	defer key.Wipe()
	a, err := ask(ctx, r)
	var blob []byte
	if err == nil && key.Len() != KeySize {
		err = &Refusal{"the key to seal has not 32 bytes"}
	}
	if err == nil {
		blob, err = s.keeper.Seal(ctx, a, key)
	}
	return s.answer("seal", a, blob, BlobSize, err)
}

// Unseal implements wire.KMSServiceServer.
func (s *Service) Unseal(ctx context.Context, r *wire.Request) (*wire.Response, error) {
	a, err := ask(ctx, r)
	if err == nil && len(r.Data) > MaxBlob {
		err = &Refusal{"the blob is longer than 4 KiB"}
	}
	var key secret.Bytes
	if err == nil {
		key, err = s.keeper.Unseal(ctx, a, r.Data)
	}
	// gRPC encodes the answer after this returns, so the key cannot be wiped
	// here; it is one allocation that nothing else holds.
	return s.answer("unseal", a, key.Reveal(), KeySize, err)
}

// answer makes errors uniform. Noise is fresh each time and never stands
// for a failure of ours: a machine could take it for its new key.
func (s *Service) answer(operation string, a Ask, data []byte, size int, err error) (*wire.Response, error) {
	if err == nil {
		return &wire.Response{Data: data}, nil
	}
	refused, ok := errors.AsType[*Refusal](err)
	if !ok {
		s.log.Error("answering", "protocol", "talos", "operation", operation, "node", a.UUID, "from", a.From, "err", err)
		return nil, errFailed
	}

	s.log.Warn("refused", "protocol", "talos", "operation", operation, "node", a.UUID, "from", a.From, "why", refused.Why)
	if !s.keeper.Noise() {
		return nil, errRefused
	}

	noise := make([]byte, size)
	rand.Read(noise)
	return &wire.Response{Data: noise}, nil
}

// ask reads who asks. A UUID that firmware leaves at one value on many
// boards is nobody's name.
func ask(ctx context.Context, r *wire.Request) (a Ask, err error) {
	if p, ok := peer.FromContext(ctx); ok {
		if from, err := netip.ParseAddrPort(p.Addr.String()); err == nil {
			a.From = from.Addr().Unmap()
		}
	}
	if a.UUID, err = kms.ParseUUID(r.NodeUuid); err != nil || a.UUID.String() != r.NodeUuid {
		return a, &Refusal{"no UUID, or not in lower case"}
	}
	if usual(a.UUID) {
		return a, &Refusal{"a UUID that many boards have"}
	}
	return a, nil
}

// usual: nothing but one digit, or what a vendor's sample firmware has.
func usual(u kms.UUID) bool {
	if u.String() == "03000200-0400-0500-0006-000700080009" {
		return true
	}
	for _, b := range u {
		if b != u[0] || b>>4 != b&0xf {
			return false
		}
	}
	return true
}
