package main

//lint:file-ignore SA1019 KMS v1 is deprecated, and all that old API servers speak

import (
	"context"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	old "k8s.io/kms/apis/v1beta1"
	plugin "k8s.io/kms/apis/v2"
)

// apiServer: apiserver encrypt SOCKET IN OUT | decrypt SOCKET IN OUT, with
// the key id in OUT.id or IN.id, as an API server asks a KMS plugin; encrypt1
// and decrypt1 as an old one.
func apiServer(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: apiserver encrypt|decrypt SOCKET IN OUT")
	}
	conn, err := grpc.NewClient("unix://"+args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	ts.Check(err)
	defer conn.Close()
	c, ctx, in := plugin.NewKeyManagementServiceClient(conn), context.Background(), []byte(ts.ReadFile(args[2]))
	var out []byte

	switch args[0] {
	case "encrypt1":
		var r *old.EncryptResponse
		r, err = old.NewKeyManagementServiceClient(conn).Encrypt(ctx, &old.EncryptRequest{Version: "v1beta1", Plain: in})
		out = r.GetCipher()
	case "decrypt1":
		var r *old.DecryptResponse
		r, err = old.NewKeyManagementServiceClient(conn).Decrypt(ctx, &old.DecryptRequest{Version: "v1beta1", Cipher: in})
		out = r.GetPlain()
	case "encrypt":
		var r *plugin.EncryptResponse
		if r, err = c.Encrypt(ctx, &plugin.EncryptRequest{Plaintext: in, Uid: "1"}); err == nil {
			out = r.Ciphertext
			ts.Check(os.WriteFile(ts.MkAbs(args[3]+".id"), []byte(r.KeyId), 0o600))
		}
	default:
		var r *plugin.DecryptResponse
		r, err = c.Decrypt(ctx, &plugin.DecryptRequest{Ciphertext: in, KeyId: ts.ReadFile(args[2] + ".id"), Uid: "2"})
		out = r.GetPlaintext()
	}
	if (err != nil) != neg {
		ts.Fatalf("apiserver %s: %v", args[0], err)
	}
	if err == nil {
		ts.Check(os.WriteFile(ts.MkAbs(args[3]), out, 0o600))
	}
}
