package tpm

import (
	"context"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"latchkey/kms"
)

// PrepareUnseal loads the storage key ahead, for a secret that is to be
// unsealed when the server has answered. EK, AK and this one are the three
// objects that any TPM holds. As Prepare, it does nothing behind the
// kernel's resource manager.
func (id *Identity) PrepareUnseal(ctx context.Context) (err error) {
	c, end := id.tpm.begin(ctx)
	defer end()
	if id.tpm.managed || id.srk.handle != 0 || id.ek.handle == 0 {
		return nil
	}
	return id.makeSRK(c)
}

// Know takes PCRs of the SHA-256 bank, in ascending order, that somebody has
// read in this boot: Prepare reads no others then. As with those that it reads
// itself, a quote is of them only if its digest is.
func (id *Identity) Know(values []kms.PCR) {
	_, end := id.tpm.begin(context.Background())
	defer end()
	id.pcrs = values
}

// Prepare starts the session that the next Activate needs, satisfies the EK's
// policy in it, and reads the PCRs that will be quoted, unless they are known, so that a server's
// answer finds the TPM ready: on a slow chip these commands take as long as the
// activation. It depends on no server. An Activate that finds nothing prepared
// does it by itself, and so does a Quote of other PCRs, or other values.
//
// Behind the kernel's resource manager a waiting session is saved and
// loaded around every other command, so there it does nothing.
func (id *Identity) Prepare(ctx context.Context, pcrs []int) (err error) {
	c, end := id.tpm.begin(ctx)
	defer end()
	if id.tpm.managed || id.ready != nil || id.ek.handle == 0 { // the last: closed
		return nil
	}

	const what = "preparing a session"
	defer func() { // go-tpm decodes replies by reflection, see run
		if p := recover(); p != nil {
			err = &Error{what, CodeFailed, fmt.Errorf("decoding the TPM's reply: %v", p)}
		}
		if err != nil {
			c.dropSessions()
		}
	}()

	if len(pcrs) > 0 && len(id.pcrs) == 0 {
		if id.pcrs, err = c.readPCRs(pcrs); err != nil {
			return err
		}
	}
	s := id.ekSession()
	if err := s.Init(c); err != nil {
		return failure(what, err)
	}

	id.ready = s
	id.tpm.kept[s.Handle()] = true
	return nil
}

// takeReady returns the prepared session, which is the call's own from here
// on, or nil.
func (id *Identity) takeReady(c call) tpm2.Session {
	s := id.ready
	if s != nil {
		id.ready = nil
		delete(c.t.kept, s.Handle())
		c.t.sessions[s.Handle()] = true
	}
	return s
}
