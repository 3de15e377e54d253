package tpm

import "github.com/google/go-tpm/tpm2"

// orderly prepares the TPM for a loss of power, if an object that is subject
// to its dictionary-attack protection was used. After one without
// TPM2_Shutdown the TPM counts a failed authorization at its next start, as a
// guess of a password might have been cut off; after a few such cuts it is
// locked, though nobody typed anything (Part 1, section 19.8.6). The kernel
// sends TPM2_Shutdown when it powers down or reboots in order, not at a cut.
// Wrong passwords are counted as they are tried.
//
// CLEAR, not STATE: PCRs are zero at the next start either way, and that start
// is to be a reset for whoever compares the clock's counts. A TPM that refuses
// only goes on counting.
func (c call) orderly(used ...tpm2.TPMAObject) {
	for _, a := range used {
		if !a.NoDA {
			_, _ = run(c, "preparing for a loss of power", tpm2.Shutdown{ShutdownType: tpm2.TPMSUClear})
			return
		}
	}
}

// attributes are those that count for an authorization of the secret: without
// an authorization value there is nothing to guess, and the TPM does not look.
func (o Sealed) attributes(public tpm2.TPMTPublic) tpm2.TPMAObject {
	a := public.ObjectAttributes
	a.NoDA = a.NoDA || len(public.AuthPolicy.Buffer) > 0 && o.PIN.Len() == 0
	return a
}
