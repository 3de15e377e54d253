package tpm

import (
	"context"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"latchkey/kms"
)

// A BeatKey signs that the machine is there: a primary of the null hierarchy,
// whose seed the TPM makes anew at each reset (Part 1, section 14.2), so that
// no other boot has this key and nothing of it is stored. It implements
// kms.Beater.
type BeatKey struct {
	*Identity
	key key
}

// NewBeatKey is the key of this boot; it is made when it is needed.
func NewBeatKey(id *Identity) *BeatKey { return &BeatKey{Identity: id} }

// BeatKey implements kms.Beater. It needs the room of the AK and of itself in
// the TPM, beside the EK (Part 3, section 18.2, TPM2_Certify).
func (b *BeatKey) BeatKey(ctx context.Context, extra []byte) (kms.BeatKey, error) {
	c, end := b.tpm.begin(ctx)
	defer end()
	if err := b.loadAK(c); err != nil {
		return kms.BeatKey{}, err
	}
	if err := b.load(c); err != nil {
		return kms.BeatKey{}, err
	}
	rsp, err := run(c, "certifying the key of beats", tpm2.Certify{
		ObjectHandle: b.key.auth(), SignHandle: b.ak.auth(),
		QualifyingData: tpm2.TPM2BData{Buffer: extra},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
	})
	if err != nil {
		c.unload(&b.key)
		return kms.BeatKey{}, err
	}
	return kms.BeatKey{
		Public: tpm2.Marshal(b.key.public), Attest: rsp.CertifyInfo.Bytes(), Signature: tpm2.Marshal(rsp.Signature),
	}, nil
}

// SignBeat implements kms.Beater. A key that is loaded no more, as after the
// machine slept, is made again; that of another boot would be another key.
func (b *BeatKey) SignBeat(ctx context.Context, digest [32]byte) (signature [kms.BeatSignature]byte, err error) {
	c, end := b.tpm.begin(ctx)
	defer end()
	if err = b.load(c); err != nil {
		return signature, err
	}
	signature, err = b.sign(c, digest)
	if err == nil || ctx.Err() != nil {
		return signature, err
	}
	c.unload(&b.key)
	if again := b.load(c); again != nil {
		return signature, again
	}
	return b.sign(c, digest)
}

// Close unloads the key, and the identity's.
func (b *BeatKey) Close() {
	c, end := b.tpm.begin(context.Background())
	if !b.tpm.managed {
		c.unload(&b.key)
	}
	end()
	b.Identity.Close()
}

func (b *BeatKey) load(c call) (err error) {
	if b.key.handle == 0 {
		b.key, err = c.createPrimary("creating the key of beats", tpm2.TPMRHNull, beatTemplate())
	}
	return err
}

func (b *BeatKey) sign(c call, digest [32]byte) (signature [kms.BeatSignature]byte, err error) {
	const what = "signing a beat"
	rsp, err := run(c, what, tpm2.Sign{
		KeyHandle: b.key.auth(), Digest: tpm2.TPM2BDigest{Buffer: digest[:]},
		InScheme:   tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	})
	if err != nil {
		return signature, err
	}
	pair, err := rsp.Signature.Signature.ECDSA()
	if err != nil {
		return signature, &Error{what, CodeFailed, err}
	}
	for i, n := range []tpm2.TPM2BECCParameter{pair.SignatureR, pair.SignatureS} {
		if len(n.Buffer) > kms.BeatSignature/2 { // leading zeros may be left out: Part 1, C.8
			return signature, &Error{what, CodeFailed, fmt.Errorf("a signature with a number of %d bytes", len(n.Buffer))}
		}
		copy(signature[(i+1)*kms.BeatSignature/2-len(n.Buffer):], n.Buffer)
	}
	return signature, nil
}

// beatLabel is as akLabel.
const beatLabel = "latchkey lk1 beat key v1"

// beatTemplate is a P-256 key that signs what it is given: it vouches for
// nothing but that this boot goes on.
func beatTemplate() tpm2.TPMTPublic {
	t := akTemplate()
	t.ObjectAttributes.Restricted = false
	x := make([]byte, 32)
	copy(x, beatLabel)
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: x}, Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)},
	})
	return t
}
