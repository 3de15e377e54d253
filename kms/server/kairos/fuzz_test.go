package kairos

import (
	"encoding/base64"
	"net/http"
	"testing"

	"latchkey/internal/secret"
	"latchkey/internal/strictjson"
)

// Seeds are the recorded frames. What is accepted holds its invariants;
// nothing panics.

func FuzzHello(f *testing.F) {
	for _, r := range recordings(f, "kairos-tpm-attestation.txt") {
		if len(r.client) > 0 {
			f.Add([]byte(r.client[0]))
		}
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		id, _, err := readHello(message)
		if err != nil {
			return
		}
		if len(id.spki) != 294 || len(id.name) != 34 || id.ak.Size() != 256 {
			t.Errorf("accepted keys of other sizes: %+v", id)
		}
		if _, err := id.credential(secret.Random(32)); err != nil {
			t.Errorf("no challenge for accepted keys: %v", err)
		}
	})
}

func FuzzProof(f *testing.F) {
	rs := recordings(f, "kairos-tpm-attestation.txt")
	id, _, err := readHello([]byte(rs[0].client[0]))
	if err != nil {
		f.Fatal(err)
	}

	for _, r := range rs {
		if len(r.client) > 1 {
			f.Add([]byte(r.client[1]))
		}
	}

	value := secret.Random(32)
	f.Fuzz(func(t *testing.T, message []byte) {
		if _, err := readProof(message, id, value); err == nil {
			t.Error("a proof without the challenge's secret holds")
		}
		var m proof
		if strictjson.DecodeKnown(message, &m, proofKeys...) == nil {
			m.Quote.check(id.ak)
		}
	})
}

func FuzzBearer(f *testing.F) {
	f.Add([]byte(`{"EK":"","AK":{"Public":"","UseTCSDActivationFormat":false}}`))
	f.Add([]byte(`{"EK":"LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0K"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := readBearer(http.Header{"Authorization": {bearer + base64.StdEncoding.EncodeToString(text)}})
		if err == nil && len(id.spki) != 294 {
			t.Errorf("accepted an EK of %d bytes", len(id.spki))
		}
	})
}

func FuzzDeposit(f *testing.F) {
	f.Add([]byte(`{"passphrase":"AAAA","error":"","generated_by":"tpm"}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		if sealed, err := readDeposit(message); err == nil && len(sealed) != SealedSize {
			t.Errorf("accepted %d bytes", len(sealed))
		}
	})
}

func FuzzDocuments(f *testing.F) {
	f.Add([]byte(fieldDocuments))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		d, err := ParseDocuments(file)
		if err != nil {
			return
		}

		for _, v := range d.Volumes {
			for _, p := range v.Partitions {
				if p.Label == "" && p.Device == "" && p.UUID == "" {
					t.Error("accepted a partition without a name")
				}
			}
			if checkPCRs(v.PCRs) != nil {
				t.Errorf("accepted PCRs %v", v.PCRs)
			}
		}

		d.Wipe()
	})
}
