package tpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
)

// A Sealed is a secret that a program sealed to a TPM: latchkey, systemd or
// clevis. All of it may come from a disk.
type Sealed struct {
	Parent  Parent
	Private []byte   // the content of its TPM2B_PRIVATE
	Public  []byte   // its TPMT_PUBLIC
	Policy  []Policy // none: it asks for nothing, or for its authorization value alone
	// PIN is its authorization value, empty without one.
	PIN secret.Bytes
}

// A Parent is the storage key that an object was sealed under.
type Parent struct {
	// Handle is that of a key in NV, such as PersistentSRK. 0: the key is
	// made from the template.
	Handle uint32
	// Name is the name that the key must have: 0x000b and a SHA-256. Empty is
	// not known. It keeps who sits on the bus from reading the secret by a
	// key of their own.
	Name     []byte
	Template Template
	// Public is its TPMT_PUBLIC, told by Bind.
	Public []byte
}

// PersistentSRK is where installers keep the storage root key.
const PersistentSRK = uint32(persistentSRK)

// A Template is what a primary storage key is made from.
type Template int

const (
	// SRKP256 and SRKRSA2048 are the TCG's storage root keys (TPM v2.0
	// Provisioning Guidance, section 7.5.1).
	SRKP256 Template = iota + 1
	SRKRSA2048
	// PlainP256 and PlainRSA2048 are what tpm2_createprimary (clevis), and
	// systemd before 254, make: noDA is off and the unique field is empty
	// (src/shared/tpm2-util.c, tpm2_get_legacy_template).
	PlainP256
	PlainRSA2048
)

func (t Template) public() (tpm2.TPMTPublic, error) {
	switch t {
	case SRKP256:
		return tpm2.ECCSRKTemplate, nil
	case SRKRSA2048:
		return tpm2.RSASRKTemplate, nil
	case PlainP256:
		p := tpm2.ECCSRKTemplate
		p.ObjectAttributes.NoDA = false
		p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
		return p, nil
	case PlainRSA2048:
		p := tpm2.RSASRKTemplate
		p.ObjectAttributes.NoDA = false
		p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
		return p, nil
	}
	return tpm2.TPMTPublic{}, &Error{"making a storage key", CodeUnsupported, errors.New("no template and no handle is named")}
}

// Bounds of what is read from a disk: a private part holds a secret of 128
// bytes, an authorization value, a seed and their wrapping; a policy of more
// steps than PCRs, signature and PIN is nobody's.
const (
	maxPrivate = 1024
	maxPublic  = 512
	maxPolicy  = 4
)

// Unseal gives a secret back that Seal of an Identity did not make. The
// reply is encrypted to the parent. Beside the endorsement key it has two
// objects and one session in the TPM, and leaves none.
//
// The codes of its errors: CodeSealPolicy if a step cannot be taken or PCRs
// are other ones, CodeSealForeign if the object is no sealed secret or
// another TPM's, CodePIN, CodeLockout, and those of the TPM itself.
func (t *TPM) Unseal(ctx context.Context, o Sealed) (secret.Bytes, error) {
	public, err := o.check()
	if err != nil {
		return secret.Bytes{}, err
	}
	c, end := t.begin(ctx)
	defer end()
	defer c.dropSessions()
	c.makeRoom()
	parent, err := c.loadParent(o.Parent)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer c.release(parent)
	defer c.orderly(parent.public.ObjectAttributes, o.attributes(public))

	s, err := c.satisfy(parent, o, public.AuthPolicy.Buffer)
	if err != nil {
		return secret.Bytes{}, err
	}
	loaded, err := run(c, "loading the sealed secret", tpm2.Load{
		ParentHandle: parent.auth(), InPrivate: tpm2.TPM2BPrivate{Buffer: o.Private}, InPublic: tpm2.New2B(public),
	})
	if err != nil {
		return secret.Bytes{}, loadFailure(err)
	}
	c.t.kept[loaded.ObjectHandle] = true
	defer c.flush(loaded.ObjectHandle)
	object, err := newKey(loaded.ObjectHandle, public)
	if err != nil {
		return secret.Bytes{}, err
	}

	rsp, err := run(c, "unsealing a secret", tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: object.handle, Name: object.name, Auth: s}})
	if err != nil {
		return secret.Bytes{}, o.unsealFailure(err)
	}
	delete(c.t.sessions, s.handle) // used up
	return secret.Own(rsp.OutData.Buffer), nil
}

// check reads the public area. What is accepted is a keyed hash that does
// not leave this TPM: others were made elsewhere, by somebody who knows what
// is in them.
func (o Sealed) check() (public tpm2.TPMTPublic, err error) {
	if len(o.Private) == 0 || len(o.Private) > maxPrivate || len(o.Public) == 0 || len(o.Public) > maxPublic || len(o.Policy) > maxPolicy {
		return public, foreign("it has not the shape of a sealed secret")
	}
	defer func() { // go-tpm decodes by reflection, see run
		if p := recover(); p != nil {
			err = foreign(fmt.Sprintf("its public area cannot be read: %v", p))
		}
	}()
	p, err := tpm2.Unmarshal[tpm2.TPMTPublic](o.Public)
	if err != nil {
		return public, foreign(fmt.Sprintf("its public area cannot be read: %v", err))
	}

	a := p.ObjectAttributes
	switch {
	case !bytes.Equal(tpm2.Marshal(*p), o.Public):
		return public, foreign("its public area has bytes too many")
	case p.Type != tpm2.TPMAlgKeyedHash || p.NameAlg != tpm2.TPMAlgSHA256:
		return public, foreign("it is no sealed secret with a name of SHA-256")
	case !a.FixedTPM || !a.FixedParent || a.Decrypt || a.SignEncrypt || a.Restricted || a.SensitiveDataOrigin:
		return public, foreign("its attributes are not those of a secret that stays in one TPM")
	case len(p.AuthPolicy.Buffer) != sha256.Size && (len(o.Policy) > 0 || len(p.AuthPolicy.Buffer) > 0):
		return public, foreign("its policy is not what is said beside it")
	}
	return *p, nil
}

// satisfy takes the steps of the policy. That they led elsewhere is seen
// before the secret is asked for.
func (c call) satisfy(parent key, o Sealed, want []byte) (*session, error) {
	kind := tpm2.TPMSEPolicy
	if len(want) == 0 {
		kind = tpm2.TPMSEHMAC
	}
	s, err := c.startSession(kind, parent, o.PIN.Reveal())
	if err != nil || len(want) == 0 {
		return s, err
	}
	for _, p := range o.Policy {
		if err := p.satisfy(c, s); err != nil {
			return nil, err
		}
	}
	got, err := c.policyDigest(s)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(got[:], want) {
		return nil, o.policyFailure()
	}
	return s, nil
}

func (o Sealed) policyFailure() error {
	var all []string
	for _, p := range o.Policy {
		if text := p.refused(); text != "" {
			all = append(all, text)
		}
	}
	if len(all) == 0 {
		return foreign("its policy is not what is said beside it")
	}
	return &Error{"unsealing a secret", CodeSealPolicy, errors.New(strings.Join(all, ", or "))}
}

// loadParent makes the parent, or looks at the one in NV.
func (c call) loadParent(p Parent) (key, error) {
	if p.Handle == 0 {
		template, err := p.Template.public()
		if err != nil {
			return key{}, err
		}
		made, err := c.createPrimary("creating the storage key", tpm2.TPMRHOwner, template)
		if err != nil {
			return key{}, err
		}
		if len(p.Name) > 0 && !bytes.Equal(p.Name, made.name.Buffer) {
			c.flush(made.handle)
			return key{}, foreign("it was sealed under another storage key: another TPM's, or this one was cleared since")
		}
		return made, nil
	}

	const what = "reading the persistent storage key"
	if p.Handle>>24 != uint32(tpm2.TPMHTPersistent) {
		return key{}, &Error{what, CodeUnsupported, fmt.Errorf("%#08x is no handle of a persistent key", p.Handle)}
	}
	rsp, err := run(c, what, tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(p.Handle)})
	if isRC(err, tpm2.TPMRCHandle) || isRC(err, tpm2.TPMRCValue) {
		return key{}, foreign(fmt.Sprintf("there is no storage key at %#08x: it was sealed by another TPM, or this one was cleared since", p.Handle))
	}
	if err != nil {
		return key{}, err
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		return key{}, &Error{what, CodeFailed, err}
	}
	k, err := newKey(tpm2.TPMHandle(p.Handle), *public)
	if err != nil {
		return key{}, err
	}
	a := public.ObjectAttributes
	switch {
	case len(p.Name) > 0 && !bytes.Equal(p.Name, k.name.Buffer):
		return key{}, foreign("it was sealed under another storage key: another TPM's, or this one was cleared since")
	case !a.FixedTPM || !a.SensitiveDataOrigin || !a.Restricted || !a.Decrypt:
		return key{}, foreign(fmt.Sprintf("the key at %#08x is no storage key of this TPM's own", p.Handle))
	}
	return k, nil
}

// release unloads a parent, if it does not live in NV.
func (c call) release(k key) {
	if !k.inNV() {
		c.flush(k.handle)
	}
}

// makeRoom unloads what the identities of this TPM can make again.
func (c call) makeRoom() {
	for _, id := range c.t.identities {
		c.unload(&id.ak)
		c.unload(&id.srk)
	}
}

// loadFailure: a private part that another TPM wrapped fails its integrity
// check, and one that was altered may not even decode.
func loadFailure(err error) error {
	for _, rc := range []tpm2.TPMRC{tpm2.TPMRCIntegrity, tpm2.TPMRCSensitive, tpm2.TPMRCBinding, tpm2.TPMRCSize, tpm2.TPMRCInsufficient, tpm2.TPMRCHash, tpm2.TPMRCAttributes} {
		if isRC(err, rc) {
			return &Error{"loading the sealed secret", CodeSealForeign, fmt.Errorf("it was sealed by another TPM, or this one was cleared since (%w)", rc)}
		}
	}
	return err
}

func (o Sealed) unsealFailure(err error) error {
	switch {
	case isRC(err, tpm2.TPMRCPolicyFail):
		return o.policyFailure()
	case isRC(err, tpm2.TPMRCAuthFail), isRC(err, tpm2.TPMRCBadAuth):
		return &Error{"unsealing a secret", CodePIN, errors.New("the TPM does not take the PIN")}
	case isRC(err, tpm2.TPMRCLockout):
		return &Error{"unsealing a secret", CodeLockout, errors.New("TPM_RC_LOCKOUT: too many wrong PINs were tried, and the TPM takes none for now")}
	}
	return err
}
