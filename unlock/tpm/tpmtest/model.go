package tpmtest

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// A Model is how long a chip takes for its commands.
type Model struct {
	Small      time.Duration // whatever has no operation with a private key
	Extend     time.Duration // of a PCR
	Load       time.Duration // of an object, and the making of one that is data
	ECCPrimary time.Duration // the making of a P-256 key
	RSAPrimary time.Duration // the making of an RSA-2048 key
	Agree      time.Duration // a point multiplication: a salt, a credential
	Sign       time.Duration // ECDSA
	RSAPrivate time.Duration // a signature or decryption by RSA-2048
}

// Models are chips that machines have. Primary keys, agreements and signatures
// are what wolfTPM's examples/bench measured on them (its README.md); the
// others are estimates. On chip "bus30" each command takes as long as reports
// of chips on a slow bus say.
var Models = map[string]Model{
	"slb9670":  {8 * ms, 12 * ms, 40 * ms, 231 * ms, 2196 * ms, 232 * ms, 69 * ms, 163 * ms},
	"slb9672":  {5 * ms, 8 * ms, 25 * ms, 136 * ms, 1568 * ms, 66 * ms, 36 * ms, 77 * ms},
	"st33htph": {8 * ms, 12 * ms, 40 * ms, 220 * ms, 7455 * ms, 247 * ms, 42 * ms, 248 * ms},
	"npct650":  {10 * ms, 15 * ms, 60 * ms, 148 * ms, 4479 * ms, 176 * ms, 190 * ms, 541 * ms},
	"ftpm":     {3 * ms, 3 * ms, 20 * ms, 120 * ms, 736 * ms, 90 * ms, 45 * ms, 12 * ms},
	"bus30":    {30 * ms, 40 * ms, 100 * ms, 250 * ms, 2500 * ms, 250 * ms, 100 * ms, 250 * ms},
}

const ms = time.Millisecond

// A Chip answers no sooner than its model would.
type Chip struct {
	Model Model
	// Done, if there is one, is told of each command that was answered.
	Done func(tpm2.TPMCC, time.Duration)

	mu  sync.Mutex
	rsa map[uint32]bool // handles of keys that are not ECC
}

// Answer asks the software TPM, and takes the chip's time for it. A command
// that fails costs nothing.
func (c *Chip) Answer(command []byte, ask func([]byte) ([]byte, error)) ([]byte, error) {
	began := time.Now()
	reply, err := ask(command)
	if err != nil || len(command) < 14 || len(reply) < 10 {
		return reply, err
	}
	if word(reply, 6) == 0 {
		time.Sleep(c.takes(command, reply) - time.Since(began))
	}
	if c.Done != nil {
		c.Done(code(command), time.Since(began))
	}
	return reply, nil
}

func code(command []byte) tpm2.TPMCC { return tpm2.TPMCC(word(command, 6)) }

func word(b []byte, at int) uint32 {
	if len(b) < at+4 {
		return 0
	}
	return binary.BigEndian.Uint32(b[at:])
}

// takes is the time of a command that succeeded: Part 3 has the commands,
// whose handles begin at byte 10.
func (c *Chip) takes(command, reply []byte) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, rsa := c.Model, func(handle uint32) bool { return c.rsa[handle] || handle == 0x81010001 }
	either := func(isRSA bool, yes, no time.Duration) time.Duration {
		if isRSA {
			return yes
		}
		return no
	}

	switch code(command) {
	case tpm2.TPMCCCreatePrimary:
		isRSA := made(command) == tpm2.TPMAlgRSA
		if isRSA {
			if c.rsa == nil {
				c.rsa = map[uint32]bool{}
			}
			c.rsa[word(reply, 10)] = true
		}
		return either(isRSA, m.RSAPrimary, m.ECCPrimary)
	case tpm2.TPMCCCreate:
		switch made(command) {
		case tpm2.TPMAlgRSA:
			return m.RSAPrimary
		case tpm2.TPMAlgECC:
			return m.ECCPrimary
		}
		return m.Load
	case tpm2.TPMCCLoad, tpm2.TPMCCContextLoad:
		return m.Load
	case tpm2.TPMCCStartAuthSession:
		if salt := word(command, 10); salt != uint32(tpm2.TPMRHNull) {
			return either(rsa(salt), m.RSAPrivate, m.Agree)
		}
	case tpm2.TPMCCActivateCredential:
		return either(rsa(word(command, 14)), m.RSAPrivate, m.Agree)
	case tpm2.TPMCCQuote, tpm2.TPMCCCertify, tpm2.TPMCCCertifyCreation:
		return either(rsa(word(command, 10)), m.RSAPrivate, m.Sign)
	case tpm2.TPMCCRSADecrypt:
		return m.RSAPrivate
	case tpm2.TPMCCECDHZGen:
		return m.Agree
	case tpm2.TPMCCPCRExtend, tpm2.TPMCCPCREvent:
		return m.Extend
	}
	return m.Small
}

// Name is a command's in Part 3, for those that are of interest in tests.
func Name(c tpm2.TPMCC) string { return names[c] }

var names = map[tpm2.TPMCC]string{
	tpm2.TPMCCGetCapability: "GetCapability", tpm2.TPMCCCreatePrimary: "CreatePrimary", tpm2.TPMCCFlushContext: "FlushContext",
	tpm2.TPMCCStartAuthSession: "StartAuthSession", tpm2.TPMCCPolicySecret: "PolicySecret", tpm2.TPMCCPolicyPCR: "PolicyPCR",
	tpm2.TPMCCActivateCredential: "ActivateCredential", tpm2.TPMCCQuote: "Quote", tpm2.TPMCCPCRRead: "PCR_Read",
	tpm2.TPMCCPCRExtend: "PCR_Extend", tpm2.TPMCCLoad: "Load", tpm2.TPMCCUnseal: "Unseal", tpm2.TPMCCReadPublic: "ReadPublic",
	tpm2.TPMCCCreate: "Create", tpm2.TPMCCNVRead: "NV_Read", tpm2.TPMCCNVReadPublic: "NV_ReadPublic",
	tpm2.TPMCCStartup: "Startup", tpm2.TPMCCSelfTest: "SelfTest", tpm2.TPMCCGetRandom: "GetRandom",
}

// made is the type of the object that Create or CreatePrimary makes: behind
// the parent's handle, the authorizations and inSensitive (Part 3, sections
// 12.1 and 24.1).
func made(command []byte) tpm2.TPMAlgID {
	at := 18 + int(word(command, 14))
	if len(command) < at+2 {
		return 0
	}
	at += 2 + int(binary.BigEndian.Uint16(command[at:])) + 2
	if len(command) < at+2 {
		return 0
	}
	return tpm2.TPMAlgID(binary.BigEndian.Uint16(command[at:]))
}
