package server_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"latchkey/internal/unary"
	taloskeeper "latchkey/kms/server/talos/keeper"
)

// TestTalosNode: the init's own client of a KMS of Talos, with ours.
func TestTalosNode(t *testing.T) {
	l := newTalos(t, taloskeeper.Options{})
	unseal := func(node string, blob []byte) ([]byte, error) {
		conn, err := net.Dial("tcp", l.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		request := append([]byte{1<<3 | 2, byte(len(node))}, node...)
		request = append(append(request, 2<<3|2, byte(len(blob))), blob...)
		return unary.Do(context.Background(), conn, unary.Call{Scheme: "http", Authority: l.addr, Method: "/sidero.kms.KMSService/Unseal", Request: request, Reply: 100})
	}
	refused := func(why string, err error) {
		t.Helper()
		if s, ok := errors.AsType[*unary.Status](err); !ok || s.Code != unary.PermissionDenied || s.Message != "refused" {
			t.Errorf("%s: %v", why, err)
		}
	}
	_, err := unseal(box, []byte("blob"))
	refused("nobody approved it", err)
	l.do("approve", box)
	blob := l.seal(l.machine(), box)
	if key, err := unseal(box, blob); err != nil || string(key) != "\x0a\x20"+string(diskKey) {
		t.Errorf("%q, %v, want the key", key, err)
	}
	_, err = unseal(other, blob)
	refused("another machine", err)
}
