package qemutests

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/siderolabs/go-blockdevice/v2/encryption"
	"github.com/siderolabs/go-blockdevice/v2/encryption/luks"
	sidero "github.com/siderolabs/kms-client/api/kms"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"latchkey/internal/secret"
)

// talos enroll IMAGE KEYFILE SLOT UUID ADDRESS CA NAME: a key of a KMS at an
// address of the LAN's host side, for a machine of that UUID, as Talos puts it
// into a header: with Sidero's client and Talos' own library for disks. $SEALED
// is what the plan calls it.
func cmdTalos(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 8 || args[0] != "enroll" {
		ts.Fatalf("usage: talos enroll IMAGE KEYFILE SLOT UUID ADDRESS CA NAME")
	}
	w := worldOf(ts)
	slot, err := strconv.Atoi(args[3])
	ts.Check(err)
	trust, err := credentials.NewClientTLSFromFile(ts.MkAbs(args[6]), args[7])
	ts.Check(err)
	conn, err := grpc.NewClient("passthrough:"+args[5], grpc.WithTransportCredentials(trust),
		grpc.WithContextDialer(func(_ context.Context, address string) (net.Conn, error) { return w.lan.dialUntil(address, patience) }))
	ts.Check(err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	key := secret.Random(32)
	sealed, err := sidero.NewKMSServiceClient(conn).Seal(ctx, &sidero.Request{NodeUuid: args[4], Data: key.Clone().Reveal()})
	ts.Check(err)

	disk := luks.New(luks.AESXTSPlain64Cipher, luks.WithPBKDFForceIterations(4), luks.WithPBKDFMemory(32<<10))
	image := ts.MkAbs(args[1])
	ts.Check(disk.AddKey(ctx, image, encryption.NewKey(encryption.AnyKeyslot, []byte(ts.ReadFile(args[2]))), encryption.NewKey(slot, []byte(base64.StdEncoding.EncodeToString(key.Reveal())))))
	ts.Check(disk.SetToken(ctx, image, slot, &luks.Token[map[string][]byte]{Type: "sideroKMS", UserData: map[string][]byte{"sealedData": sealed.Data}}))

	var report struct {
		Tokens []struct{ Talos struct{ Sealed string } }
	}
	ts.Check(json.Unmarshal([]byte(w.exec(ts, filepath.Join(w.shared.bin, "latchkey"), "volume", "inspect", "--json", image)), &report))
	ts.Setenv("SEALED", report.Tokens[0].Talos.Sealed)
}
