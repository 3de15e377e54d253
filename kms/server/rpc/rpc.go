// Package rpc is what the gRPC servers of the KMS have in common: their
// limits. Nobody who can reach one is known.
package rpc

import (
	"context"
	"math"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Limits of every server.
const (
	maxMessage = 8 << 10 // bytes; a Talos blob has less than 4 KiB, a Kubernetes one 1
	maxHeaders = 8 << 10
	maxStreams = 8 // calls at once on one connection
	handshake  = 5 * time.Second
	idle       = 2 * time.Minute
	age        = 10 * time.Minute
	agedGrace  = 10 * time.Second
	callTime   = 10 * time.Second
	pingEvery  = 10 * time.Second // at most
)

// Busy marks a connection as one that has a whole request, until done is
// called: until then it does not make room for others.
type Busy func(net.Conn) (done func())

// Observe is told how each call ended, which began then.
type Observe func(method string, err error, began time.Time)

// NewServer makes a server; inner are its credentials, nil for plain text.
func NewServer(inner credentials.TransportCredentials, busy Busy, observe Observe) *grpc.Server {
	if inner == nil {
		inner = insecure.NewCredentials()
	}
	if busy == nil {
		busy = func(net.Conn) func() { return func() {} }
	}
	return grpc.NewServer(append(limits(inner), grpc.UnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (reply any, err error) {
		began := time.Now()
		defer func() { observe(info.FullMethod, err, began) }()
		ctx, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		if p, ok := peer.FromContext(ctx); ok {
			if held, ok := p.AuthInfo.(heldInfo); ok {
				defer busy(held.conn)()
			}
		}
		return next(ctx, request)
	}))...)
}

// Away is a server that answers every call as one that may be tried again.
func Away(inner credentials.TransportCredentials, why string) *grpc.Server {
	if inner == nil {
		inner = insecure.NewCredentials()
	}
	return grpc.NewServer(append(limits(inner), grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
		return status.Error(codes.Unavailable, why)
	}))...)
}

func limits(inner credentials.TransportCredentials) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(held{inner}),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxHeaderListSize(maxHeaders), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshake),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: idle, MaxConnectionAge: age, MaxConnectionAgeGrace: agedGrace,
			Time: time.Minute, Timeout: handshake,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery, PermitWithoutStream: true}),
		grpc.InitialWindowSize(math.MaxUint16), grpc.InitialConnWindowSize(math.MaxUint16),
	}
}

// held are credentials that remember the connection below.
type held struct {
	credentials.TransportCredentials
}

type heldInfo struct {
	credentials.AuthInfo
	conn net.Conn
}

// ServerHandshake implements credentials.TransportCredentials.
func (h held) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ServerHandshake(raw)
	return conn, heldInfo{info, raw}, err
}

// Clone implements credentials.TransportCredentials.
func (h held) Clone() credentials.TransportCredentials { return held{h.TransportCredentials.Clone()} }
