package bench

import (
	"context"
	"fmt"
	"net"
	"net/url"

	taloskeeper "latchkey/kms/server/talos/keeper"

	sidero "github.com/siderolabs/kms-client/api/kms"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"latchkey/kms"
)

// talosFleet is machines of Talos: a connection, in plain text, for each
// unseal.
type talosFleet struct {
	b     *Load
	blobs [][]byte
}

func newTalosFleet(b *Load) (fleet, error) { return &talosFleet{b, make([][]byte, b.Nodes)}, nil }

func (f *talosFleet) runs() []workload { return []workload{{"talos unseals", f.unseal, nil, nil}} }

// talosUUID is not one that many boards have.
func talosUUID(i int) string {
	u := uuidOf(i)
	u[0] = 0x7a
	return u.String()
}

func (f *talosFleet) call(ctx context.Context, i int, do func(sidero.KMSServiceClient, *sidero.Request) (*sidero.Response, error), data []byte) ([]byte, error) {
	conn, err := grpc.NewClient("passthrough:"+f.b.talos, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) { return dialer(i).DialContext(ctx, "tcp", to) }))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	r, err := do(sidero.NewKMSServiceClient(conn), &sidero.Request{NodeUuid: talosUUID(i), Data: data})
	return r.GetData(), err
}

func (f *talosFleet) enroll(ctx context.Context, i int) (err error) {
	var done taloskeeper.Node
	if err := f.b.call(ctx, "POST", "/v1/talos/approve", url.Values{"uuid": {talosUUID(i)}}, nil, &done); err != nil {
		return err
	}
	f.blobs[i], err = f.call(ctx, i, func(c sidero.KMSServiceClient, r *sidero.Request) (*sidero.Response, error) { return c.Seal(ctx, r) }, make([]byte, 32))
	return err
}

func (f *talosFleet) unseal(ctx context.Context, i int) error {
	key, err := f.call(ctx, i, func(c sidero.KMSServiceClient, r *sidero.Request) (*sidero.Response, error) { return c.Unseal(ctx, r) }, f.blobs[i])
	if err == nil && kms.UUID(key[:16]) != (kms.UUID{}) {
		err = fmt.Errorf("another key came back than was sealed")
	}
	return err
}
