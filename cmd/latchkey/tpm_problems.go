package main

import (
	"slices"
	"strings"

	"latchkey/unlock/tpm"
)

// passwords names the hierarchies that have a password.
func passwords(s tpm.Setup) (set []string) {
	for _, h := range []struct {
		set  bool
		name string
	}{{s.EndorsementPassword, "endorsement"}, {s.OwnerPassword, "owner"}, {s.LockoutPassword, "lockout"}} {
		if h.set {
			set = append(set, h.name)
		}
	}
	return set
}

// problems is what keeps latchkey from using the TPM, or weakens what it
// says, each with what to do.
func (i *tpmInfo) problems(s tpm.Setup) (list []string) {
	say := func(so bool, text string) {
		if so {
			list = append(list, text)
		}
	}
	say(len(i.Banks) > 0 && !slices.Contains(i.Banks, "sha256"), "the SHA-256 bank is off, the only one that a KMS judges (tpm-unsupported): "+
		"switch it on in the firmware setup, or with tpm2_pcrallocate sha256:all, and reboot")
	say(s.EndorsementPassword, "the endorsement hierarchy has a password, so its keys cannot be used unattended (tpm-auth): "+
		"remove it with tpm2_changeauth -c endorsement -p PASSWORD, or clear the TPM in the firmware setup")
	say(s.OwnerPassword && !s.PersistentSRK, "the owner hierarchy has a password and no storage key is persistent, so nothing can be sealed or unsealed unattended (tpm-auth): "+
		"remove the password with tpm2_changeauth -c owner -p PASSWORD, or enroll with --mode static")
	say(i.Lockout.Locked, "the TPM is in lockout (tpm-lockout): wait, or its owner resets it with tpm2_dictionarylockout --clear-lockout")
	say(isZero(i.PCRs["0"]) && isZero(i.PCRs["7"]), "PCRs 0 and 7 are zero: the firmware measures nothing into the SHA-256 bank, so an approval would pin nothing; "+
		"look for the bank or for measured boot in the firmware setup")
	return list
}

// notes are what is no fault, and decides how the machine can be enrolled.
func (i *tpmInfo) notes(s tpm.Setup) []string {
	var list []string
	if s.OwnerPassword && s.PersistentSRK {
		list = append(list, "the owner hierarchy has a password: sealed volumes use the storage key at 0x81000001, if it is the standard one of this TPM")
	}
	if i.NodeID == "" || i.EKCert {
		return list
	}
	text := "the " + i.EK + " endorsement key has no certificate: a KMS that enrolls by certificate (serve --enroll cert) refuses this machine; approval by words works"
	if other := map[string]bool{"P-256": s.RSACertificate, "RSA-2048": s.P256Certificate}; other[i.EK] {
		text += "; the TPM has a certificate for its other endorsement key"
	}
	return append(list, text)
}

func isZero(pcr string) bool { return pcr != "" && strings.Trim(pcr, "0") == "" }
