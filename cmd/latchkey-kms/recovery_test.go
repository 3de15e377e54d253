package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"latchkey/internal/escrow"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/softtpm"
)

// tellRecovery is what a machine's running system says of recovery keys:
//
//	seal UUID RECIPIENT FILE  seals one for the recipient into FILE, and leaves it
//	prove UUID FILE RESETS    shows its keyslot, so many boots later
func tellRecovery(ts *testscript.TestScript, client *kms.Client, tpm *softtpm.Booted, uuid kms.UUID, args []string) (string, error) {
	word := kms.RecoveryWord{UUID: uuid}
	file := args[2]
	if args[0] == "seal" {
		to, err := escrow.Recipients(args[2:3])
		ts.Check(err)
		file = args[3]
		word.Sealed, err = escrow.Seal(escrow.Key{
			Volume: uuid, Machine: tpm.NodeID(), Keyslot: 2, Made: time.Now(), Text: secret.Own([]byte("cbde-fghi-" + tpm.NodeID().Words()[:4])),
		}, to)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(file), word.Sealed, 0o600))
		word.To = kms.RecipientsDigest(args[2:3])
	} else {
		n, err := strconv.Atoi(args[3])
		ts.Check(err)
		tpm.Reset += uint32(n)
	}
	key := sha256.Sum256([]byte(ts.ReadFile(file)))
	word.Escrows = []kms.Escrow{{Key: key, Evidence: key}}
	reply, err := client.Recovery(context.Background(), ts.Getenv("URL"), tpm, []kms.Want{{UUID: uuid, Digest: [32]byte{1}, SeqID: 3}}, []kms.RecoveryWord{word})
	if err != nil {
		return "", err
	}
	v := reply.Volumes[0]
	return fmt.Sprintf("%s proven %t renew %t, for %v", v.Status.Code(), v.Proven, v.Renew, reply.Recipients), nil
}
