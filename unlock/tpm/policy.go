package tpm

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-tpm/tpm2"
)

// A Policy is one step of a sealed object's policy: PCRs, SignedPCRs or a
// PIN. The steps are taken in the order in which they were taken to seal.
type Policy interface {
	// satisfy takes the step in a session.
	satisfy(c call, s *session) error
	// refused says in few words what the step asks for.
	refused() string
}

// PCRs asks for the values that some PCRs had: TPM2_PolicyPCR, Part 3,
// section 23.7.
type PCRs struct {
	Bank crypto.Hash
	PCRs []int // 0 to 23, at least one
	// Values are those that a secret is sealed to where they are not those of
	// now.
	Values map[int][32]byte
}

// SignedPCRs asks for values that the holder of a key has signed:
// TPM2_PolicyAuthorize, Part 3, section 23.16, of a policy that is PCRs
// alone. It comes first: what came before it is forgotten.
type SignedPCRs struct {
	PCRs
	Modulus  []byte // of the RSA key, big-endian
	Exponent uint32 // as it stands in the key's public area: 0 is 65537
	// Signature is what was signed for a policy, RSASSA with SHA-256; nil if
	// nothing was.
	Signature func(policy [32]byte) []byte
}

// PIN asks for the object's authorization value: TPM2_PolicyAuthValue, Part
// 3, section 23.17. Objects that were sealed with TPM2_PolicyPassword have
// the same policy. Only an HMAC of the value crosses the bus.
type PIN struct{}

// bank is the name and the algorithm of a PCR bank; ok is false for a hash
// that is none.
func bank(h crypto.Hash) (name string, alg tpm2.TPMAlgID, ok bool) {
	switch h {
	case crypto.SHA1:
		return "sha1", tpm2.TPMAlgSHA1, true
	case crypto.SHA256:
		return "sha256", tpm2.TPMAlgSHA256, true
	case crypto.SHA384:
		return "sha384", tpm2.TPMAlgSHA384, true
	case crypto.SHA512:
		return "sha512", tpm2.TPMAlgSHA512, true
	}
	return "", 0, false
}

func (p PCRs) String() string {
	words := make([]string, len(p.PCRs))
	for i, n := range p.PCRs {
		words[i] = fmt.Sprint(n)
	}
	name, _, _ := bank(p.Bank)
	return fmt.Sprintf("PCR %s (%s)", strings.Join(words, "+"), name)
}

// satisfy has the TPM fill in the values. A bank that is off has none, and
// some TPMs take the step all the same.
func (p PCRs) satisfy(c call, s *session) error {
	name, alg, ok := bank(p.Bank)
	if !ok || len(p.PCRs) == 0 {
		return &Error{"selecting PCRs", CodeUnsupported, errors.New("no PCR, or a bank that is not sha1, sha256, sha384 or sha512")}
	}
	if err := checkPCRs(p.PCRs); err != nil {
		return err
	}
	active, err := c.activeBanks()
	if err != nil {
		return err
	}
	if !slices.Contains(active, alg) {
		return &Error{"satisfying PolicyPCR", CodeSealPolicy, fmt.Errorf("the TPM's bank %s is off: switch it on in the firmware", name)}
	}
	selection := selection(p.PCRs...)
	selection.PCRSelections[0].Hash = alg
	_, err = run(c, "satisfying PolicyPCR", tpm2.PolicyPCR{PolicySession: s.handle, Pcrs: selection})
	return err
}

func (p PCRs) refused() string { return p.String() + " has other values than when it was sealed" }

func (p SignedPCRs) satisfy(c call, s *session) error {
	if len(p.Modulus) < 128 || len(p.Modulus) > 512 {
		return &Error{"satisfying PolicyAuthorize", CodeUnsupported, fmt.Errorf("the key has %d bits, want 1024 to 4096", 8*len(p.Modulus))}
	}
	if err := p.PCRs.satisfy(c, s); err != nil {
		return err
	}
	approved, err := c.policyDigest(s)
	if err != nil {
		return err
	}
	signature := p.Signature(approved)
	if signature == nil {
		return &Error{"satisfying PolicyAuthorize", CodeSealPolicy, fmt.Errorf("nobody signed the values that %s has now", p.PCRs)}
	}
	name, ticket, err := p.verify(c, approved, signature)
	if err != nil {
		return err
	}
	_, err = run(c, "satisfying PolicyAuthorize", tpm2.PolicyAuthorize{
		PolicySession: s.handle, ApprovedPolicy: tpm2.TPM2BDigest{Buffer: approved[:]}, KeySign: name, CheckTicket: ticket,
	})
	return err
}

// verify has the TPM verify a signature of a policy (with an empty policyRef:
// Part 3, section 23.16), and returns its word for it.
func (p SignedPCRs) verify(c call, approved [32]byte, signature []byte) (tpm2.TPM2BName, tpm2.TPMTTKVerified, error) {
	public := p.public()
	loaded, err := run(c, "loading the key that signs PCRs", tpm2.LoadExternal{InPublic: tpm2.New2B(public), Hierarchy: tpm2.TPMRHOwner})
	if err != nil {
		return tpm2.TPM2BName{}, tpm2.TPMTTKVerified{}, err
	}
	c.t.kept[loaded.ObjectHandle] = true
	defer c.flush(loaded.ObjectHandle)
	signer, err := newKey(loaded.ObjectHandle, public)
	if err != nil {
		return tpm2.TPM2BName{}, tpm2.TPMTTKVerified{}, err
	}

	digest := sha256.Sum256(approved[:])
	rsp, err := run(c, "verifying the signature of PCRs", tpm2.VerifySignature{
		KeyHandle: signer.handle, Digest: tpm2.TPM2BDigest{Buffer: digest[:]},
		Signature: tpm2.TPMTSignature{
			SigAlg: tpm2.TPMAlgRSASSA,
			Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgRSASSA, &tpm2.TPMSSignatureRSA{
				Hash: tpm2.TPMAlgSHA256, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: signature},
			}),
		},
	})
	if isRC(err, tpm2.TPMRCSignature) || isRC(err, tpm2.TPMRCSize) {
		err = &Error{"verifying the signature of PCRs", CodeSealPolicy, errors.New("it is not by the key that the secret was sealed with")}
	}
	if err != nil {
		return tpm2.TPM2BName{}, tpm2.TPMTTKVerified{}, err
	}
	return signer.name, rsp.Validation, nil
}

// public is the area that systemd makes of an RSA key
// (src/shared/tpm2-util.c, tpm2_tpm2b_public_from_openssl_pkey).
func (p SignedPCRs) public() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{UserWithAuth: true, Decrypt: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			KeyBits: tpm2.TPMKeyBits(8 * len(p.Modulus)), Exponent: p.Exponent,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: bytes.Clone(p.Modulus)}),
	}
}

func (p SignedPCRs) refused() string { return "another key signs for " + p.PCRs.String() }

func (PIN) satisfy(c call, s *session) error {
	_, err := run(c, "satisfying PolicyAuthValue", tpm2.PolicyAuthValue{PolicySession: s.handle})
	return err
}

func (PIN) refused() string { return "" }

// policyDigest is what a session's policy has come to.
func (c call) policyDigest(s *session) (digest [32]byte, err error) {
	rsp, err := run(c, "reading a policy's digest", tpm2.PolicyGetDigest{PolicySession: s.handle})
	if err != nil {
		return digest, err
	}
	if copy(digest[:], rsp.PolicyDigest.Buffer) != 32 {
		return digest, &Error{"reading a policy's digest", CodeFailed, errShort}
	}
	return digest, nil
}
