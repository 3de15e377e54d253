package rpc_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	wire "github.com/siderolabs/kms-client/api/kms"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"latchkey/kms/server/rpc"
)

// A service answers with the deadline that it was given, in seconds.
type service struct {
	wire.UnimplementedKMSServiceServer
}

func (service) Seal(ctx context.Context, r *wire.Request) (*wire.Response, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return nil, status.Error(codes.Internal, "no deadline")
	}
	return &wire.Response{Data: []byte{byte(time.Until(deadline).Seconds() + 0.5)}}, nil
}

// dial starts a server with the limits and returns a client of it.
func dial(t *testing.T, busy rpc.Busy, observe rpc.Observe) wire.KMSServiceClient {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	s := rpc.NewServer(nil, busy, observe)
	wire.RegisterKMSServiceServer(s, service{})
	go s.Serve(l)
	t.Cleanup(s.Stop)

	c, err := grpc.NewClient("passthrough:///kms", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return wire.NewKMSServiceClient(c)
}

// TestCall: a call has a deadline of the server's, holds its connection for
// as long as it lasts, and is observed.
func TestCall(t *testing.T) {
	var mu sync.Mutex
	held, ended, seen := 0, 0, ""
	c := dial(t, func(conn net.Conn) func() {
		mu.Lock()
		defer mu.Unlock()
		if conn == nil {
			t.Error("busy was told no connection")
		}
		held++
		return func() { mu.Lock(); ended++; mu.Unlock() }
	}, func(method string, err error, _ time.Time) { mu.Lock(); seen = method; mu.Unlock() })

	r, err := c.Seal(t.Context(), &wire.Request{Data: []byte("x")})
	if err != nil || len(r.Data) != 1 || r.Data[0] != 10 {
		t.Fatalf("Seal = %v, %v, want a deadline of 10 s", r, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if held != 1 || ended != 1 || seen != "/sidero.kms.KMSService/Seal" {
		t.Errorf("held %d, ended %d, observed %q, want 1, 1 and the method", held, ended, seen)
	}
}

// TestMessageIsBounded: 8 KiB are taken, more are not.
func TestMessageIsBounded(t *testing.T) {
	c := dial(t, nil, func(string, error, time.Time) {})
	if _, err := c.Seal(t.Context(), &wire.Request{Data: make([]byte, 8<<10-64)}); err != nil {
		t.Errorf("Seal of just under 8 KiB = %v", err)
	}
	if _, err := c.Seal(t.Context(), &wire.Request{Data: make([]byte, 8<<10)}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("Seal of more than 8 KiB = %v, want ResourceExhausted", err)
	}
}
