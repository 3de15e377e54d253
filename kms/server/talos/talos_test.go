package talos_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	wire "github.com/siderolabs/kms-client/api/kms"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"latchkey/internal/secret"
	"latchkey/kms/server/talos"
)

const node = "6d9a2c7e-0b1f-4b7e-9d2c-3f5a8e1b4c60"

// A keeper answers with what a row wants, and remembers who asked.
type keeper struct {
	err   error
	noise bool
	asked []talos.Ask
}

func (k *keeper) Seal(_ context.Context, a talos.Ask, key secret.Bytes) ([]byte, error) {
	k.asked = append(k.asked, a)
	return append([]byte("sealed "), key.Reveal()...), k.err
}

func (k *keeper) Unseal(_ context.Context, a talos.Ask, blob []byte) (secret.Bytes, error) {
	k.asked = append(k.asked, a)
	return secret.Own(bytes.TrimPrefix(bytes.Clone(blob), []byte("sealed "))), k.err
}

func (k *keeper) Noise() bool { return k.noise }

// from is a call of a machine at 192.0.2.7.
func from() context.Context {
	return peer.NewContext(context.Background(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1}})
}

func TestSealUnseal(t *testing.T) {
	k := &keeper{}
	s := talos.NewService(k, slog.New(slog.DiscardHandler))
	key := bytes.Repeat([]byte{7}, talos.KeySize)
	sealed, err := s.Seal(from(), &wire.Request{NodeUuid: node, Data: bytes.Clone(key)})
	if err != nil {
		t.Fatal(err)
	}

	opened, err := s.Unseal(from(), &wire.Request{NodeUuid: node, Data: sealed.Data})
	if err != nil || !bytes.Equal(opened.Data, key) {
		t.Errorf("Unseal(Seal(key)) = %x, %v, want the key", opened.GetData(), err)
	}
	for _, a := range k.asked {
		if a.UUID.String() != node || a.From.String() != "192.0.2.7" {
			t.Errorf("the keeper was asked for %v from %v, want %s from 192.0.2.7", a.UUID, a.From, node)
		}
	}
}

// TestRefusedAlike: one code and one text for every cause, and a keeper's
// own failure is another, for the machine must ask again then.
func TestRefusedAlike(t *testing.T) {
	key := bytes.Repeat([]byte{7}, talos.KeySize)
	for _, row := range []struct {
		name, uuid string
		data       []byte
		err        error
		want       codes.Code
		reaches    bool // the keeper
	}{
		{"unknown machine", node, key, &talos.Refusal{Why: "unknown"}, codes.PermissionDenied, true},
		{"no UUID", "shop", key, nil, codes.PermissionDenied, false},
		{"upper case", strings.ToUpper(node), key, nil, codes.PermissionDenied, false},
		{"all zero", "00000000-0000-0000-0000-000000000000", key, nil, codes.PermissionDenied, false},
		{"all f", "ffffffff-ffff-ffff-ffff-ffffffffffff", key, nil, codes.PermissionDenied, false},
		{"a vendor's sample", "03000200-0400-0500-0006-000700080009", key, nil, codes.PermissionDenied, false},
		{"short key", node, key[:31], nil, codes.PermissionDenied, false},
		{"long key", node, append(bytes.Clone(key), 7), nil, codes.PermissionDenied, false},
		{"the store is away", node, key, errors.New("etcd is away"), codes.Unavailable, true},
	} {
		k := &keeper{err: row.err}
		_, err := talos.NewService(k, slog.New(slog.DiscardHandler)).Seal(from(), &wire.Request{NodeUuid: row.uuid, Data: bytes.Clone(row.data)})
		if status.Code(err) != row.want || row.want == codes.PermissionDenied && status.Convert(err).Message() != "refused" {
			t.Errorf("%s: Seal = %v, want %v", row.name, err, row.want)
		}
		if reached := len(k.asked) > 0; reached != row.reaches {
			t.Errorf("%s: the keeper was asked: %v, want %v", row.name, reached, row.reaches)
		}
	}

	long := &wire.Request{NodeUuid: node, Data: make([]byte, talos.MaxBlob+1)}
	k := &keeper{}
	if _, err := talos.NewService(k, slog.New(slog.DiscardHandler)).Unseal(from(), long); status.Code(err) != codes.PermissionDenied || len(k.asked) > 0 {
		t.Errorf("Unseal(a blob over 4 KiB) = %v, and the keeper was asked %d times", err, len(k.asked))
	}
}

// TestNoise: where refusals look like answers, they have an answer's size
// and are never twice the same; a failure is still an error.
func TestNoise(t *testing.T) {
	k := &keeper{err: &talos.Refusal{Why: "unknown"}, noise: true}
	s := talos.NewService(k, slog.New(slog.DiscardHandler))
	ask := func() []byte {
		r, err := s.Unseal(from(), &wire.Request{NodeUuid: node, Data: make([]byte, talos.BlobSize)})
		if err != nil || len(r.Data) != talos.KeySize {
			t.Fatalf("Unseal with noise = %d bytes, %v, want %d", len(r.GetData()), err, talos.KeySize)
		}
		return r.Data
	}
	if bytes.Equal(ask(), ask()) {
		t.Error("the noise is the same twice")
	}

	k.err = errors.New("etcd is away")
	if _, err := s.Unseal(from(), &wire.Request{NodeUuid: node}); status.Code(err) != codes.Unavailable {
		t.Errorf("a failure with noise = %v, want Unavailable", err)
	}
}
