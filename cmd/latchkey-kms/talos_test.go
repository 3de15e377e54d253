package main

import (
	"context"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
	sidero "github.com/siderolabs/kms-client/api/kms"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// talosMachine: talos seal|unseal UUID IN OUT, with Sidero's own client.
func talosMachine(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: talos seal|unseal UUID IN OUT")
	}
	conn, err := grpc.NewClient(ts.Getenv("TALOS"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	ts.Check(err)
	defer conn.Close()
	ask := sidero.NewKMSServiceClient(conn).Seal
	if args[0] == "unseal" {
		ask = sidero.NewKMSServiceClient(conn).Unseal
	}

	in := []byte(ts.ReadFile(args[2]))
	r, err := ask(context.Background(), &sidero.Request{NodeUuid: args[1], Data: in})
	if (err != nil) != neg {
		ts.Fatalf("talos %s: %v", args[0], err)
	}
	if err == nil {
		ts.Check(os.WriteFile(ts.MkAbs(args[3]), r.Data, 0o600))
	}
}
