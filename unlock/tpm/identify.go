package tpm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/google/go-tpm/tpm2"

	"latchkey/kms"
)

// Options say which identity to load.
type Options struct {
	EK          EK
	Certificate bool // read the EK certificate from NV as well
	Kept        bool // take the keys that Keep has left in NV, if they are there
}

// An Identity is a TPM's two keys, loaded once per boot: the EK, whose
// hash names the node, and the AK that signs its quotes. It implements
// kms.Prover.
type Identity struct {
	tpm     *TPM
	ek, ak  key
	srk     key // loaded with the first sealed secret
	said    atomic.Pointer[publicAreas]
	ekCert  atomic.Pointer[[]byte]
	ready   tpm2.Session // made by Prepare, nil without
	pcrs    []kms.PCR    // read by Prepare, or known before
	notKept error        // why keys were made that should be in NV
}

// publicAreas are what others are told of the keys.
type publicAreas struct{ ek, ak []byte }

// key is a loaded object.
type key struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic
}

// Identify loads the endorsement key and the attestation key. Neither
// depends on any server, so a rogue one costs the TPM nothing.
func (t *TPM) Identify(ctx context.Context, o Options) (*Identity, error) {
	c, end := t.begin(ctx)
	defer end()
	id := &Identity{tpm: t}
	var err error
	if o.Kept {
		id.notKept = id.takeKept(c, o.EK)
	}
	if id.ek.handle == 0 {
		if id.ek, err = c.loadChosen(o.EK); err != nil {
			return nil, err
		}
	}
	if err := id.loadAK(c); err != nil {
		id.release(c)
		return nil, err
	}

	id.publish()
	if o.Certificate {
		id.certify(c)
	}
	t.identities = append(t.identities, id)
	return id, nil
}

func (id *Identity) publish() {
	id.said.Store(&publicAreas{tpm2.Marshal(id.ek.public), tpm2.Marshal(id.ak.public)})
}

// NotKept is why keys were made that Options.Kept wanted from NV; nil if they
// were not.
func (id *Identity) NotKept() error { return id.notKept }

// EKPublic is the EK's TPMT_PUBLIC.
func (id *Identity) EKPublic() []byte { return slices.Clone(id.said.Load().ek) }

// EKCert is the EK's certificate, DER, or empty: it was not read, or there
// is none.
func (id *Identity) EKCert() []byte {
	if der := id.ekCert.Load(); der != nil {
		return slices.Clone(*der)
	}
	return nil
}

// Certify reads the EK's certificate from NV, for a KMS that wants to see
// it: a node that is known costs its TPM no command for it.
func (id *Identity) Certify(ctx context.Context) {
	c, end := id.tpm.begin(ctx)
	defer end()
	id.certify(c)
}

func (id *Identity) certify(c call) {
	kind := EKP256
	if id.ek.public.Type == tpm2.TPMAlgRSA {
		kind = EKRSA2048
	}
	der := c.ekCertificate(kind)
	id.ekCert.Store(&der)
}

// AKPublic is the AK's TPMT_PUBLIC.
func (id *Identity) AKPublic() []byte { return slices.Clone(id.said.Load().ak) }

// NodeID is the node's name: the hash of its EK.
func (id *Identity) NodeID() kms.NodeID { return kms.NodeIDOf(id.said.Load().ek) }

// Close unloads the keys, once. Behind a resource manager that is the
// kernel's work when the TPM is closed, and costs no command here.
func (id *Identity) Close() {
	c, end := id.tpm.begin(context.Background())
	defer end()
	id.tpm.identities = slices.DeleteFunc(id.tpm.identities, func(other *Identity) bool { return other == id })
	if !id.tpm.managed {
		id.release(c)
	}
}

// Rest unloads what can be made again, so that a machine that waits for
// an operator leaves room in the TPM for the kernel and others. The next
// Activate or Unseal loads what it needs.
func (id *Identity) Rest() {
	c, end := id.tpm.begin(context.Background())
	defer end()
	if id.tpm.managed {
		return
	}
	if s := id.takeReady(c); s != nil {
		c.flush(s.Handle())
	}
	c.unload(&id.ak)
	c.unload(&id.srk)
}

func (id *Identity) release(c call) {
	if s := id.takeReady(c); s != nil {
		c.flush(s.Handle())
	}
	for _, k := range []*key{&id.ek, &id.ak, &id.srk} {
		c.unload(k)
		k.handle = 0
	}
}

// loadAK loads the attestation key if it is not loaded.
func (id *Identity) loadAK(c call) (err error) {
	if id.ak.handle == 0 {
		id.ak, err = c.createPrimary("creating the attestation key", tpm2.TPMRHEndorsement, akTemplate())
	}
	return err
}

// loadSRK loads the storage key, and makes room for a sealed object beside
// it and the EK. A TPM holds as few as three objects, and so does one user
// of the kernel's resource manager: context_tbl in struct tpm_space,
// drivers/char/tpm/tpm.h.
func (id *Identity) loadSRK(c call) (err error) {
	c.unload(&id.ak)
	if id.srk.handle == 0 {
		err = id.makeSRK(c)
	}
	return err
}

// makeSRK makes the storage key. Where the owner has a password, which
// making it needs, it takes the same key from where installers keep it: what
// was sealed under the one opens under the other.
func (id *Identity) makeSRK(c call) (err error) {
	template := id.srkTemplate()
	id.srk, err = c.createPrimary("creating the storage root key", tpm2.TPMRHOwner, template)
	if e, ok := errors.AsType[*Error](err); !ok || e.code != CodeAuth {
		return err
	}
	rsp, kept := run(c, "reading the persistent storage root key", tpm2.ReadPublic{ObjectHandle: persistentSRK})
	if kept != nil {
		return err // that of the password tells people more
	}
	public, kept := rsp.OutPublic.Contents()
	if kept != nil || !matches(*public, template) {
		return err
	}
	id.srk, err = newKey(persistentSRK, *public)
	return err
}

// unload flushes a key if it is loaded; it can be made again. One that lives
// in NV takes no room.
func (c call) unload(k *key) {
	if k.handle != 0 && !k.inNV() {
		c.flush(k.handle)
		k.handle = 0
	}
}

// loadChosen loads the EK that is wanted. With EKAuto that depends only on what
// the TPM lists, which a TPM that makes the P-256 one is not asked for: each
// command counts in a boot.
func (c call) loadChosen(want EK) (key, error) {
	if want != EKAuto {
		return c.loadEK(want)
	}
	ek, err := c.loadEK(EKP256)
	if e, ok := errors.AsType[*Error](err); !ok || e.code != CodeUnsupported && e.code != CodeFailed {
		return ek, err
	}
	has, listed := c.hasP256()
	switch {
	case listed != nil:
		return key{}, listed
	case has:
		return key{}, err
	}
	return c.loadEK(EKRSA2048)
}

func (c call) hasP256() (bool, error) {
	const what = "listing elliptic curves"
	rsp, err := run(c, what, tpm2.GetCapability{Capability: tpm2.TPMCapECCCurves, PropertyCount: 64})
	if isRC(err, tpm2.TPMRCValue) {
		return false, nil // a TPM without any curve has no such list
	}
	if err != nil {
		return false, err
	}
	curves, err := rsp.CapabilityData.Data.ECCCurves()
	if err != nil {
		return false, &Error{what, CodeFailed, err}
	}
	return slices.Contains(curves.ECCCurves, tpm2.TPMECCNistP256), nil
}

// loadEK makes the EK, or uses the persistent RSA one: an RSA-2048 primary
// takes seconds on a real chip, and asking for the persistent one saves two
// commands (create, flush) for one. A P-256 primary takes a fraction of a
// second and has no handle of its own in the guidance, so there the search
// would cost more than it saves.
func (c call) loadEK(kind EK) (key, error) {
	if kind == EKP256 {
		return c.createPrimary("creating the P-256 endorsement key", tpm2.TPMRHEndorsement, tpm2.ECCEKTemplate)
	}
	rsp, err := run(c, "reading the persistent endorsement key", tpm2.ReadPublic{ObjectHandle: persistentRSAEK})
	if err == nil {
		if public, err := rsp.OutPublic.Contents(); err == nil && matches(*public, tpm2.RSAEKTemplate) {
			return newKey(persistentRSAEK, *public)
		}
	}
	return c.createPrimary("creating the RSA-2048 endorsement key", tpm2.TPMRHEndorsement, tpm2.RSAEKTemplate)
}

// createPrimary makes a primary key from a template and checks that the
// reply is of that template.
func (c call) createPrimary(what string, hierarchy tpm2.TPMHandle, template tpm2.TPMTPublic) (key, error) {
	rsp, err := run(c, what, tpm2.CreatePrimary{PrimaryHandle: hierarchy, InPublic: tpm2.New2B(template)})
	if err != nil {
		return key{}, err
	}
	c.t.kept[rsp.ObjectHandle] = true
	public, err := rsp.OutPublic.Contents()
	if err == nil && !matches(*public, template) {
		err = fmt.Errorf("the TPM made a key of another template")
	}
	if err != nil {
		c.flush(rsp.ObjectHandle)
		return key{}, &Error{what, CodeFailed, err}
	}
	return newKey(rsp.ObjectHandle, *public)
}

// newKey computes the name itself: what authorizations are bound to must
// not come from the bus.
func newKey(h tpm2.TPMHandle, public tpm2.TPMTPublic) (key, error) {
	name, err := tpm2.ObjectName(&public)
	if err != nil {
		return key{}, &Error{"naming a key", CodeFailed, err}
	}
	return key{h, *name, public}, nil
}

// inNV tells whether the key lives in NV: there is nothing to flush.
func (k key) inNV() bool { return k.handle>>24 == tpm2.TPMHandle(tpm2.TPMHTPersistent) }

// auth is the key with its empty password.
func (k key) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: k.handle, Name: k.name, Auth: tpm2.PasswordAuth(nil)}
}
