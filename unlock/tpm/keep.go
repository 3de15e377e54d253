package tpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// Where Keep has the TPM keep its keys: "lk1" in ASCII behind the octet of
// persistent handles, and the ones after it. They are the owner's to give (TCG
// Registry of Reserved TPM 2.0 Handles, section 2.3.1), and far from those of
// firmware and installers at 0x8100xxxx and 0x8101xxxx.
const (
	KeptEK = tpm2.TPMHandle(0x816C6B31)
	KeptAK = tpm2.TPMHandle(0x816C6B32)
)

// A place is where a key of this TPM's is kept, or would be.
type place struct {
	what   string
	handle tpm2.TPMHandle
	key    *key
}

func (id *Identity) places() []place {
	return []place{{"endorsement key", KeptEK, &id.ek}, {"attestation key", KeptAK, &id.ak}}
}

// Keep has the TPM keep the P-256 EK and the AK in NV, so that a boot need not
// make them. What is there already stays; a handle with another key is an
// error, and nothing is written over. It returns how many keys it wrote:
// either all that were missing, or none.
func (t *TPM) Keep(ctx context.Context) (wrote int, err error) {
	return t.atPlaces(ctx, func(c call, p place, there bool) (bool, error) {
		if there {
			return false, nil
		}
		return true, c.evict("keeping the "+p.what, *p.key, p.handle)
	}, true)
}

// Forget takes out of NV what Keep has put there, and nothing else. It returns
// how many keys that were.
func (t *TPM) Forget(ctx context.Context) (removed int, err error) {
	return t.atPlaces(ctx, func(c call, p place, there bool) (bool, error) {
		if !there {
			return false, nil
		}
		k := *p.key
		k.handle = p.handle
		return true, c.evict("removing the "+p.what, k, p.handle)
	}, false)
}

// atPlaces looks at both handles before it changes either. With undo, what it
// changed is taken back when the next change fails.
func (t *TPM) atPlaces(ctx context.Context, change func(c call, p place, there bool) (bool, error), undo bool) (changed int, err error) {
	id, err := t.Identify(ctx, Options{EK: EKP256})
	if err != nil {
		return 0, err
	}
	defer id.Close()
	c, end := t.begin(ctx)
	defer end()
	there := map[tpm2.TPMHandle]bool{}
	for _, p := range id.places() {
		if there[p.handle], err = c.holds(p); err != nil {
			return 0, err
		}
	}
	for _, p := range id.places() {
		did, err := change(c, p, there[p.handle])
		if err != nil && undo && changed > 0 {
			c.ctx = context.WithoutCancel(c.ctx)
			back := key{KeptEK, id.ek.name, id.ek.public}
			if left := c.evict("removing the endorsement key", back, KeptEK); left == nil {
				changed = 0
			}
		}
		if err != nil {
			return changed, err
		}
		if did {
			changed++
		}
	}
	return changed, nil
}

// holds tells whether a key is kept where it should be. Another key there is an
// error.
func (c call) holds(p place) (bool, error) {
	what := fmt.Sprintf("reading the %s at %#08x", p.what, uint32(p.handle))
	rsp, err := run(c, what, tpm2.ReadPublic{ObjectHandle: p.handle})
	if isRC(err, tpm2.TPMRCHandle) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		return false, &Error{what, CodeFailed, err}
	}
	if !bytes.Equal(tpm2.Marshal(*public), tpm2.Marshal(p.key.public)) {
		return false, &Error{what, CodeUnsupported, errors.New("somebody keeps another key there, which is left as it is")}
	}
	return true, nil
}

// evict puts a loaded key into NV, or takes one out of it, by the owner's word:
// Part 3, section 28.5.
func (c call) evict(what string, k key, handle tpm2.TPMHandle) error {
	_, err := run(c, fmt.Sprintf("%s at %#08x", what, uint32(handle)), tpm2.EvictControl{
		Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle:     &tpm2.NamedHandle{Handle: k.handle, Name: k.name},
		PersistentHandle: handle,
	})
	if isRC(err, tpm2.TPMRCNVSpace) {
		return &Error{what, CodeUnsupported, errors.New("the TPM has no room for another persistent key")}
	}
	return err
}

// takeKept takes the keys from NV. If one is not there, or is not what Keep
// puts there, both are to be made.
func (id *Identity) takeKept(c call, want EK) error {
	if want == EKRSA2048 {
		return &Error{"taking the kept keys", CodeUnsupported, errors.New("they are P-256, and the plan wants rsa2048")}
	}
	ek, err := c.readKept("endorsement key", KeptEK, tpm2.ECCEKTemplate)
	if err != nil {
		return err
	}
	ak, err := c.readKept("attestation key", KeptAK, akTemplate())
	if err != nil {
		return err
	}
	id.ek, id.ak = ek, ak
	return nil
}

// readKept reads a key that must be a primary of the endorsement hierarchy, as
// its qualified name says (Part 1, section 26.5), and of the template: a
// private key that was never outside of this TPM. Which one of those it is,
// Doubt finds out.
func (c call) readKept(what string, handle tpm2.TPMHandle, template tpm2.TPMTPublic) (key, error) {
	what = fmt.Sprintf("reading the %s at %#08x", what, uint32(handle))
	rsp, err := run(c, what, tpm2.ReadPublic{ObjectHandle: handle})
	if isRC(err, tpm2.TPMRCHandle) {
		return key{}, &Error{what, CodeFailed, errors.New("the TPM keeps none there")}
	}
	if err != nil {
		return key{}, err
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		return key{}, &Error{what, CodeFailed, err}
	}
	k, err := newKey(handle, *public)
	if err != nil {
		return key{}, err
	}
	if !matches(*public, template) || !bytes.Equal(rsp.QualifiedName.Buffer, primaryName(tpm2.TPMRHEndorsement, k.name)) {
		return key{}, &Error{what, CodeFailed, errors.New("somebody keeps another key there")}
	}
	return k, nil
}

// primaryName is the qualified name of a hierarchy's primary key.
func primaryName(hierarchy tpm2.TPMHandle, name tpm2.TPM2BName) []byte {
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint32(nil, uint32(hierarchy)), name.Buffer...))
	return append(binary.BigEndian.AppendUint16(nil, uint16(tpm2.TPMAlgSHA256)), sum[:]...)
}

// Doubt is for keys from NV that a KMS does not know. It makes the TPM's own
// and compares: if they are others, it is those from now on, and the error says
// so.
func (id *Identity) Doubt(ctx context.Context) error {
	c, end := id.tpm.begin(ctx)
	defer end()
	if !id.ek.inNV() || id.ek.handle != KeptEK {
		return nil
	}
	if s := id.takeReady(c); s != nil { // it is salted to the key that is doubted
		c.flush(s.Handle())
	}
	own := &Identity{tpm: id.tpm}
	var err error
	if own.ek, err = c.loadEK(EKP256); err != nil {
		return err
	}
	if err := own.loadAK(c); err != nil {
		own.release(c)
		return err
	}
	if bytes.Equal(own.ek.name.Buffer, id.ek.name.Buffer) && bytes.Equal(own.ak.name.Buffer, id.ak.name.Buffer) {
		own.release(c)
		return nil
	}
	id.ek, id.ak = own.ek, own.ak
	id.publish()
	return &Error{"taking the kept keys", CodeFailed, fmt.Errorf("those at %#08x and %#08x are not this TPM's own, and are not used", uint32(KeptEK), uint32(KeptAK))}
}
