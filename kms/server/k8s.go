package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	wire "k8s.io/kms/apis/v2"

	"latchkey/internal/secret"
	"latchkey/kms/server/k8s"
	"latchkey/kms/server/rpc"
)

// KubeRing is the ring of a named key for Kubernetes.
func KubeRing(name string) string { return "k8s/" + name }

// NewK8s is the gRPC server of the KMS plugin with one named key, which is
// made if it is not there. Its listener is a Unix socket.
func NewK8s(ctx context.Context, s *Server, name string) (*grpc.Server, error) {
	k := kubeKeeper{s, ring(KubeRing(name)), name}
	err := s.update(ctx, func(t *txn) error {
		_, e, err := t.ringCurrent(k.ring)
		e.key.Wipe()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making the key %s for Kubernetes: %w", name, err)
	}
	g := rpc.NewServer(nil, nil, s.observe("k8s"))
	wire.RegisterKeyManagementServiceServer(g, k8s.NewService(k, s.log))
	return g, nil
}

// kubeKeeper keeps one named key: k8s.Keeper.
type kubeKeeper struct {
	s    *Server
	ring ring
	name string
}

// id names a version in all the world: it holds which KMS has it. It stays
// for as long as the version: API servers compare it with what they stored.
func (k kubeKeeper) id(version uint32) string {
	return fmt.Sprintf("latchkey:%x:%s:%d", k.s.vault.name, k.name, version)
}

// KeyID implements k8s.Keeper: one read, and what is known of writing.
func (k kubeKeeper) KeyID(context.Context) (id string, err error) {
	if err := k.s.Healthy(); err != nil {
		return "", err
	}
	err = k.s.read(func(v view) error {
		version := v.ringNewest(k.ring)
		e, found, err := v.ringVersion(k.ring, version)
		e.key.Wipe()
		if err == nil && !found {
			err = fmt.Errorf("the key %s: %w", k.name, ErrNotFound)
		}
		id = k.id(version)
		return err
	})
	return id, err
}

// Encrypt implements k8s.Keeper.
func (k kubeKeeper) Encrypt(ctx context.Context, uid string, plain secret.Bytes) (sealed []byte, id string, err error) {
	err = k.s.update(ctx, func(t *txn) error {
		version, body, err := t.ringSeal(k.ring, plain, k.aad)
		if err != nil {
			return err
		}
		id, sealed = k.id(version), append(kubeHead(version), body...)
		return t.note(Event{Event: "k8s encrypt", Status: "ok", From: "socket", Detail: fmt.Sprintf("key %s uid %s", id, uid)})
	})
	return sealed, id, err
}

// Decrypt implements k8s.Keeper: recorded before it is answered.
func (k kubeKeeper) Decrypt(ctx context.Context, uid, id string, sealed []byte) (plain secret.Bytes, err error) {
	if len(sealed) < kubeHeadSize || sealed[0] != kubeFormat {
		return plain, fmt.Errorf("%w: it is not one of ours", k8s.ErrSealed)
	}
	version := binary.BigEndian.Uint32(sealed[1:])
	if id != k.id(version) {
		return plain, fmt.Errorf("%w: it is not of the key %.100q", k8s.ErrSealed, id)
	}

	err = k.s.update(ctx, func(t *txn) (err error) {
		plain.Wipe() // of a run that did not count
		if plain, err = t.ringOpen(k.ring, version, sealed[kubeHeadSize:], k.aad(version)); err != nil {
			return err
		}
		return t.note(Event{Event: "k8s decrypt", Status: "ok", From: "socket", Detail: fmt.Sprintf("key %s uid %s", id, uid)})
	})
	if errors.Is(err, errSealed) {
		err = fmt.Errorf("%w: %w", k8s.ErrSealed, err)
	}
	if err != nil {
		plain.Wipe()
		return secret.Bytes{}, err
	}

	return plain, nil
}

// A ciphertext is format, version, nonce, AEAD; the ring's name is in what
// binds it, so that keys cannot be exchanged.
const (
	kubeFormat   = 1
	kubeHeadSize = 1 + 4
)

func kubeHead(version uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{kubeFormat}, version)
}

func (k kubeKeeper) aad(version uint32) []byte {
	return slices.Concat([]byte("lk1/k8s"), kubeHead(version), []byte(k.name))
}
