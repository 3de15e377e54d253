package kairos_test

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"latchkey/kms/server/kairos/kairostest"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// A chip is a software TPM driven as their client drives one: template L-1,
// and for each connection an AK under the storage root key.
type chip struct {
	bus     transport.TPM
	ek, srk *tpm2.CreatePrimaryResponse
	spki    []byte
	loaded  tpm2.TPMHandle // the AK; a TPM has room for three keys
}

func newChip(bus transport.TPM) (*chip, error) {
	c := &chip{bus: bus}
	var err error
	if c.ek, err = (tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(tpm2.RSAEKTemplate)}).Execute(bus); err != nil {
		return nil, err
	}

	if c.srk, err = (tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.RSASRKTemplate)}).Execute(bus); err != nil {
		return nil, err
	}
	public, err := c.ek.OutPublic.Contents()
	if err != nil {
		return nil, err
	}

	key, err := tpm2.Pub(*public)
	if err != nil {
		return nil, err
	}

	c.spki, err = x509.MarshalPKIXPublicKey(key)
	return c, err
}

func (c *chip) SPKI() []byte { return c.spki }

func (c *chip) NewAK() (kairostest.AK, error) {
	if c.loaded != 0 {
		if _, err := (tpm2.FlushContext{FlushHandle: c.loaded}).Execute(c.bus); err != nil {
			return nil, err
		}
	}

	template := tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgRSASSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			KeyBits: 2048,
		}),
	}

	parent := tpm2.AuthHandle{Handle: c.srk.ObjectHandle, Name: c.srk.Name, Auth: tpm2.PasswordAuth(nil)}
	made, err := tpm2.Create{ParentHandle: parent, InPublic: tpm2.New2B(template)}.Execute(c.bus)
	if err != nil {
		return nil, err
	}

	loaded, err := tpm2.Load{ParentHandle: parent, InPrivate: made.OutPrivate, InPublic: made.OutPublic}.Execute(c.bus)
	if err != nil {
		return nil, err
	}

	c.loaded = loaded.ObjectHandle
	return &chipAK{c, made.OutPublic.Bytes(), tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name, Auth: tpm2.PasswordAuth(nil)}}, nil
}

type chipAK struct {
	c      *chip
	public []byte
	handle tpm2.AuthHandle
}

func (a *chipAK) Public() []byte { return a.public }

func (a *chipAK) Activate(credential, seed []byte) ([]byte, error) {
	blob, err := tpm2.Unmarshal[tpm2.TPM2BIDObject](credential)
	if err != nil {
		return nil, err
	}

	secret, err := tpm2.Unmarshal[tpm2.TPM2BEncryptedSecret](seed)
	if err != nil {
		return nil, err
	}

	policy := tpm2.Policy(tpm2.TPMAlgSHA256, 16, func(bus transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicySecret{
			AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
			PolicySession: session, NonceTPM: nonce,
		}.Execute(bus)
		return err
	})
	rsp, err := tpm2.ActivateCredential{
		ActivateHandle: a.handle, KeyHandle: tpm2.AuthHandle{Handle: a.c.ek.ObjectHandle, Name: a.c.ek.Name, Auth: policy},
		CredentialBlob: *blob, Secret: *secret,
	}.Execute(a.c.bus)
	if err != nil {
		return nil, err
	}

	return rsp.CertInfo.Buffer, nil
}

func (a *chipAK) Quote() (attest, signature []byte, pcrs map[string][]byte, err error) {
	selection := tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{0x81, 0x08, 0}}}}
	rsp, err := tpm2.Quote{SignHandle: a.handle, PCRSelect: selection}.Execute(a.c.bus)
	if err != nil {
		return nil, nil, nil, err
	}
	read, err := tpm2.PCRRead{PCRSelectionIn: selection}.Execute(a.c.bus)
	if err != nil || len(read.PCRValues.Digests) != 3 {
		return nil, nil, nil, fmt.Errorf("reading PCRs: %w", err)
	}
	pcrs = map[string][]byte{}
	for i, index := range []string{"0", "7", "11"} {
		pcrs[index] = read.PCRValues.Digests[i].Buffer
	}
	return rsp.Quoted.Bytes(), tpm2.Marshal(rsp.Signature), pcrs, nil
}

// A real TPM's keys, activation and quotes are taken, under the TPMHash
// that the node's own code computes.
func TestTPM(t *testing.T) {
	sim := tpmtest.Start(t)
	dev, err := tpm.Open(sim.Socket)
	if err != nil {
		t.Fatal(err)
	}

	hash, err := dev.Hash(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	dev.Close()
	bus, err := linuxudstpm.Open(sim.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	c, err := newChip(bus)
	if err != nil {
		t.Fatal(err)
	}

	k, n, _ := start(t)
	n.TPM = c
	if r, err := n.Attest(); err != nil || r.Passphrase != "the passphrase" {
		t.Fatalf("Attest = %+v, %v", r, err)
	}

	p := k.proof.Load()
	if got := hex.EncodeToString(p.Hash[:]); got != hash || p.Quote.Clock == 0 {
		t.Errorf("the proof is %s's at clock %d, want %s's", got, p.Quote.Clock, hash)
	}
	if r, err := n.GetPass(); err != nil || r.Passphrase != "the passphrase" {
		t.Errorf("GetPass = %+v, %v", r, err)
	}

	n.Proof = func(m map[string]any) { _, p := quoteOf(m); flip(p["7"], 0) }
	if r, err := n.Attest(); err != nil || r.Error == "" {
		t.Errorf("Attest with another PCR = %+v, %v, want an error", r, err)
	}
}
