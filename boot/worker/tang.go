package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"latchkey/internal/plan"
	"latchkey/kms"
	"latchkey/unlock/source/clevis"
)

// clevis is the source of clevis' tokens.
func (w *worker) clevis(n *network) *clevis.Clevis {
	return &clevis.Clevis{
		Allowed: w.plan.Clevis.Tang, Sealed: w.plan.Clevis.Sealed, TLS: w.plan.Clevis.TLS.Any(), Wait: w.plan.TangTime(), Asker: w.tang(n),
		TPM: func(ctx context.Context) (clevis.Unsealer, error) {
			if err := w.mayUseTPM(ctx); err != nil {
				return nil, err
			}
			return w.tpm()
		},
	}
}

// tang are the tang servers.
func (w *worker) tang(n *network) *servers {
	s := &servers{worker: w, network: n, what: "tang server", again: func(error) time.Duration { return time.Second }}
	s.code = func(err error) string {
		if errors.Is(err, clevis.ErrNoKey) {
			return clevis.CodeNoKey
		}
		return clevis.CodeSilent
	}
	s.post = func(ctx context.Context, at serverAt, path string, body []byte) ([]byte, error) {
		to, err := at.endpoint()
		if err != nil {
			return nil, err
		}
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return n.dial(ctx, at, plan.TLSServer{Host: to.Host, Protocol: "http/1.1", Trust: w.plan.Clevis.TLS})
		}
		reply, err := kms.Post(ctx, dial, to, path, "application/jwk+json", body)
		if e, ok := errors.AsType[*kms.Error](err); ok {
			err = e.Err // the line has the URL already
		}
		if status, ok := errors.AsType[kms.HTTPStatus](err); ok && status == 404 {
			return nil, fmt.Errorf("%w (%w)", clevis.ErrNoKey, status) // tang/src/tangd.c, rec(): no such file
		}
		return reply, err
	}
	return s
}
