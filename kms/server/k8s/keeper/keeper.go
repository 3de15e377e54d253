// Package keeper keeps the named keys that encrypt for Kubernetes.
package keeper

//lint:file-ignore SA1019 KMS v1 is deprecated, and all that old API servers speak

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"google.golang.org/grpc"
	old "k8s.io/kms/apis/v1beta1"
	wire "k8s.io/kms/apis/v2"

	"latchkey/internal/secret"
	"latchkey/kms/ledger"
	"latchkey/kms/server/k8s"
	"latchkey/kms/server/rpc"
)

// Keyring holds the keys, by name.
var Keyring = ledger.NewKeyring("k8s", nil)

// RingName is the ring of a named key for Kubernetes, as the operator calls
// it.
func RingName(name string) string { return Keyring.Ring(name).String() }

// NewServer is the gRPC server of the KMS plugin with one named key, which
// is made if it is not there. Its listener is a Unix socket.
func NewServer(ctx context.Context, l *ledger.Ledger, name string, v1 bool, log *slog.Logger, observe rpc.Observe) (*grpc.Server, error) {
	k := keeper{l, Keyring.Ring(name), name}
	if err := l.Update(ctx, func(t *ledger.Txn) error { return t.MakeRing(k.ring) }); err != nil {
		return nil, fmt.Errorf("making the key %s for Kubernetes: %w", name, err)
	}
	g := rpc.NewServer(nil, nil, observe)
	wire.RegisterKeyManagementServiceServer(g, k8s.NewService(k, log))
	if v1 {
		old.RegisterKeyManagementServiceServer(g, k8s.NewServiceV1(k, log))
	}
	return g, nil
}

// keeper keeps one named key: k8s.Keeper.
type keeper struct {
	l    *ledger.Ledger
	ring ledger.Ring
	name string
}

// id names a version in all the world: it holds which KMS has it, and which
// key it is: after a restore another one may get the same number. It stays
// for as long as the version: API servers compare it with what they stored.
func (k keeper) id(v ledger.View, version uint32) (string, error) {
	fingerprint, err := v.Fingerprint(k.ring, version)
	return k.oldID(version) + ":" + fingerprint, err
}

// oldID is the id that versions had before it said which key they are.
func (k keeper) oldID(version uint32) string {
	return fmt.Sprintf("latchkey:%x:%s:%d", k.l.Name(), k.name, version)
}

// KeyID implements k8s.Keeper: one read, and what is known of writing.
func (k keeper) KeyID(context.Context) (id string, err error) {
	if err := k.l.Healthy(); err != nil {
		return "", err
	}
	err = k.l.Read(func(v ledger.View) (err error) {
		id, err = k.id(v, v.Newest(k.ring))
		return err
	})
	return id, err
}

// Encrypt implements k8s.Keeper.
func (k keeper) Encrypt(ctx context.Context, uid string, plain secret.Bytes) (sealed []byte, id string, err error) {
	err = k.l.Update(ctx, func(t *ledger.Txn) error {
		version, body, err := t.Seal(k.ring, plain, k.aad)
		if err != nil {
			return err
		}
		if id, err = k.id(t.View, version); err != nil {
			return err
		}
		sealed = append(head(version), body...)
		return t.Note(ledger.Event{Event: "k8s encrypt", Status: "ok", From: "socket", Detail: fmt.Sprintf("key %s uid %s", id, uid)})
	})
	return sealed, id, err
}

// Decrypt implements k8s.Keeper: recorded before it is answered.
func (k keeper) Decrypt(ctx context.Context, uid, id string, sealed []byte) (plain secret.Bytes, err error) {
	if len(sealed) < headSize || sealed[0] != format {
		return plain, fmt.Errorf("%w: it is not one of ours", k8s.ErrSealed)
	}
	version := binary.BigEndian.Uint32(sealed[1:])
	if err := k.l.Read(func(v ledger.View) error { return k.named(v, version, id) }); err != nil {
		return plain, err
	}

	err = k.l.Update(ctx, func(t *ledger.Txn) (err error) {
		plain.Wipe() // of a run that did not count
		if plain, err = t.View.Open(k.ring, version, sealed[headSize:], k.aad(version)); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "k8s decrypt", Status: "ok", From: "socket", Detail: fmt.Sprintf("key %s uid %s", id, uid)})
	})
	if errors.Is(err, ledger.ErrSealed) {
		err = fmt.Errorf("%w: %w", k8s.ErrSealed, err)
	}
	if err != nil {
		plain.Wipe()
		return secret.Bytes{}, err
	}

	return plain, nil
}

// named checks that an id names a version's key.
func (k keeper) named(v ledger.View, version uint32, id string) error {
	if id == k.oldID(version) {
		return nil
	}
	want, err := k.id(v, version)
	if errors.Is(err, ledger.ErrSealed) {
		return fmt.Errorf("%w: %w", k8s.ErrSealed, err)
	}
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	if err != nil || id != want {
		return fmt.Errorf("%w: it is not of the key %.100q", k8s.ErrSealed, id)
	}
	return nil
}

// A ciphertext is format, version, nonce, AEAD; the ring's name is in what
// binds it, so that keys cannot be exchanged.
const (
	format   = 1
	headSize = 1 + 4
)

func head(version uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{format}, version)
}

func (k keeper) aad(version uint32) []byte {
	return slices.Concat([]byte("lk1/k8s"), head(version), []byte(k.name))
}
