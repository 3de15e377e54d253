package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// TestUnseal opens what others sealed beside an identity in a TPM of three
// slots, and leaves nothing there. Each row has a twin that a change closes.
func TestUnseal(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	wrongPIN := func(o *tpm.Sealed) { o.PIN = secret.Own([]byte("another")) }
	step := func(p tpm.Policy) func(o *tpm.Sealed) { return func(o *tpm.Sealed) { o.Policy = []tpm.Policy{p} } }
	for _, row := range []struct {
		name    string
		sealing sealing
		spoil   func(*tpm.Sealed) // or PCR 7 is extended
		code    string
		says    string
	}{
		{"no policy (clevis without PCRs)", sealing{under: tpm.PlainP256}, func(o *tpm.Sealed) { o.Parent.Template, o.Parent.Name = tpm.SRKP256, nil }, tpm.CodeSealForeign, "another TPM"},
		{"PCR 7, as systemd 252", sealing{tpm.PlainRSA2048, []tpm.Policy{pcr7}, nil}, nil, tpm.CodeSealPolicy, "PCR 7 (sha256) has other values"},
		{"PCR 7, as systemd 257", sealing{tpm.SRKP256, []tpm.Policy{pcr7}, nil}, nil, tpm.CodeSealPolicy, "PCR 7 (sha256) has other values"},
		{"PCRs of another bank", sealing{tpm.SRKP256, []tpm.Policy{pcrs01}, nil}, step(tpm.PCRs{Bank: crypto.SHA256, PCRs: []int{0, 1, 23}}), tpm.CodeSealPolicy, "PCR 0+1+23 (sha256)"},
		{"a PIN", sealing{tpm.SRKP256, []tpm.Policy{pcr7, tpm.PIN{}}, zeroPIN}, wrongPIN, tpm.CodePIN, "does not take the PIN"},
		{"a PIN alone", sealing{tpm.SRKRSA2048, []tpm.Policy{tpm.PIN{}}, []byte("1234")}, wrongPIN, tpm.CodePIN, "does not take the PIN"},
		{"signed", sealing{tpm.SRKP256, []tpm.Policy{signed(key, key, 0)}, nil}, step(signed(key, nil, 0)), tpm.CodeSealPolicy, "nobody signed the values that PCR 11 (sha256) has now"},
		{"signed, a key with its exponent", sealing{tpm.SRKP256, []tpm.Policy{signed(key, key, 65537)}, nil}, step(signed(key, key, 0)), tpm.CodeSealPolicy, "another key signs for PCR 11"},
		{"signed by another", sealing{tpm.SRKP256, []tpm.Policy{signed(key, key, 0)}, nil}, step(signed(key, other, 0)), tpm.CodeSealPolicy, "not by the key"},
		{"signed, PCR 7 and PIN", sealing{tpm.SRKP256, []tpm.Policy{signed(key, key, 0), pcr7, tpm.PIN{}}, []byte("1234")}, nil, tpm.CodeSealPolicy, "PCR 7 (sha256) has other values"},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := rawBus(t, tpmtest.Start(t))
			dev := tpm.New(raw)
			extendPCR(t, dev, 11)
			o := row.sealing.seal(t, raw)
			id := identify(t, dev, tpm.Options{})
			id.PrepareUnseal(t.Context())
			id.Prepare(t.Context(), nil)
			if got, err := dev.Unseal(t.Context(), o); err != nil || string(got.Reveal()) != sealedText {
				t.Fatalf("Unseal = %q, %v", got.Reveal(), err)
			}
			if n := handles(t, raw); n != 2 {
				t.Errorf("%d handles after Unseal, want the EK and the session that was prepared", n)
			}

			if row.spoil == nil {
				extendPCR(t, dev, 7)
			} else {
				row.spoil(&o)
			}
			got, err := dev.Unseal(t.Context(), o)
			if codeOf(err) != row.code || !strings.Contains(err.Error(), row.says) {
				t.Errorf("Unseal = %q, %v, want code %s that says %q", got.Reveal(), err, row.code, row.says)
			}
			if n := handles(t, raw); n != 2 {
				t.Errorf("%d handles after a failure, want 2", n)
			}
			blob, seed := credential(t, id.EKPublic(), id.AKPublic(), []byte("challenge"))
			if _, err := id.Activate(t.Context(), blob, seed); err != nil {
				t.Errorf("Activate after Unseal: %v", err)
			}
		})
	}
}

// TestUnsealPersistent: a storage key in NV is taken if it is the one that
// was sealed under.
func TestUnsealPersistent(t *testing.T) {
	raw := rawBus(t, tpmtest.Start(t))
	dev := tpm.New(raw)
	o := sealing{tpm.SRKP256, []tpm.Policy{pcr7}, nil}.seal(t, raw)
	o.Parent.Handle = tpm.PersistentSRK
	if _, err := dev.Unseal(t.Context(), o); codeOf(err) != tpm.CodeSealForeign || !strings.Contains(err.Error(), "no storage key at 0x81000001") {
		t.Errorf("without a key: %v", err)
	}
	persistSRK(t, raw, tpm2.ECCSRKTemplate)
	own(t, raw) // a key in NV needs no password of the owner's
	if got, err := dev.Unseal(t.Context(), o); err != nil || string(got.Reveal()) != sealedText {
		t.Errorf("Unseal = %q, %v", got.Reveal(), err)
	}
	o.Parent.Name = bytes.Repeat([]byte{7}, 34)
	if _, err := dev.Unseal(t.Context(), o); codeOf(err) != tpm.CodeSealForeign || !strings.Contains(err.Error(), "another storage key") {
		t.Errorf("another name: %v", err)
	}
	o.Parent.Handle = 0x40000001
	if _, err := dev.Unseal(t.Context(), o); codeOf(err) != tpm.CodeUnsupported {
		t.Errorf("the owner hierarchy as a key: %v", err)
	}
	if n := handles(t, raw); n != 0 {
		t.Errorf("%d handles are left", n)
	}
}

// TestUnsealUnderAForeignKey: a key at the handle that is not the TPM's own
// may be known to whom put it there.
func TestUnsealUnderAForeignKey(t *testing.T) {
	raw := rawBus(t, tpmtest.Start(t))
	dev := tpm.New(raw)
	o := sealing{tpm.SRKP256, []tpm.Policy{pcr7}, nil}.seal(t, raw)
	signing := tpm2.ECCSRKTemplate
	signing.ObjectAttributes.Restricted, signing.ObjectAttributes.Decrypt, signing.ObjectAttributes.SignEncrypt = false, false, true
	signing.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256})
	persistSRK(t, raw, signing)
	o.Parent.Handle, o.Parent.Name = tpm.PersistentSRK, nil
	if _, err := dev.Unseal(t.Context(), o); codeOf(err) != tpm.CodeSealForeign || !strings.Contains(err.Error(), "no storage key of this TPM") {
		t.Errorf("Unseal = %v", err)
	}
}

// TestUnsealElsewhere: another TPM, or a cleared one, gives nothing.
func TestUnsealElsewhere(t *testing.T) {
	o := sealing{tpm.SRKP256, []tpm.Policy{pcr7}, nil}.seal(t, rawBus(t, tpmtest.Start(t)))
	dev := tpm.New(rawBus(t, tpmtest.Start(t)))
	for _, row := range []struct {
		name []byte
		says string
	}{{o.Parent.Name, "under another storage key"}, {nil, "TPM_RC_INTEGRITY"}} {
		o.Parent.Name = row.name
		if _, err := dev.Unseal(t.Context(), o); codeOf(err) != tpm.CodeSealForeign || !strings.Contains(err.Error(), row.says) {
			t.Errorf("Unseal, name %x = %v, want %s that says %q", row.name, err, tpm.CodeSealForeign, row.says)
		}
	}
}

// TestUnsealLockout: wrong PINs end in a lockout that has its name, and does
// not close what has no PIN.
func TestUnsealLockout(t *testing.T) {
	raw := rawBus(t, tpmtest.Start(t))
	dev := tpm.New(raw)
	o := sealing{tpm.SRKP256, []tpm.Policy{tpm.PIN{}}, []byte("1234")}.seal(t, raw)
	free := sealing{tpm.SRKP256, []tpm.Policy{pcr7}, nil}.seal(t, raw)
	o.PIN = secret.Own([]byte("4321"))
	var err error
	for range 40 {
		if _, err = dev.Unseal(t.Context(), o); codeOf(err) != tpm.CodePIN {
			break
		}
	}
	if codeOf(err) != tpm.CodeLockout || !strings.Contains(err.Error(), "TPM_RC_LOCKOUT: too many wrong PINs") {
		t.Errorf("Unseal = %v, want %s", err, tpm.CodeLockout)
	}
	if _, err := dev.Unseal(t.Context(), free); err != nil {
		t.Errorf("without a PIN: %v", err)
	}
}

// TestUnsealOnTheBus: who listens sees neither secret nor PIN, and who
// answers in the TPM's place is noticed.
func TestUnsealOnTheBus(t *testing.T) {
	raw := rawBus(t, tpmtest.Start(t))
	o := sealing{tpm.SRKP256, []tpm.Policy{tpm.PIN{}}, []byte("the PIN's digest")}.seal(t, raw)
	wire := &bus{TPM: raw}
	if _, err := tpm.New(wire).Unseal(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if wire.saw([]byte(sealedText)) || wire.saw([]byte("the PIN's digest")) {
		t.Error("a secret crossed the bus in clear")
	}
	wire.change = func(command, reply []byte) []byte {
		if commandCode(command) == tpm2.TPMCCUnseal {
			reply[20] ^= 1 // in the secret
		}
		return reply
	}
	if _, err := tpm.New(wire).Unseal(t.Context(), o); codeOf(err) != tpm.CodeFailed {
		t.Errorf("Unseal of a changed reply = %v, want %s", err, tpm.CodeFailed)
	}
}

// TestUnsealHostile: what is on a disk may be anything.
func TestUnsealHostile(t *testing.T) {
	raw := rawBus(t, tpmtest.Start(t))
	dev := tpm.New(raw)
	good := sealing{tpm.SRKP256, []tpm.Policy{pcr7}, nil}.seal(t, raw)
	public := func(change func(p *tpm2.TPMTPublic)) func(o *tpm.Sealed) {
		return func(o *tpm.Sealed) {
			p, err := tpm2.Unmarshal[tpm2.TPMTPublic](o.Public)
			if err != nil {
				t.Fatal(err)
			}
			change(p)
			o.Public = tpm2.Marshal(*p)
		}
	}
	for _, row := range []struct {
		name  string
		spoil func(o *tpm.Sealed)
		code  string
		says  string
	}{
		{"no private part", func(o *tpm.Sealed) { o.Private = nil }, tpm.CodeSealForeign, "shape"},
		{"a huge private part", func(o *tpm.Sealed) { o.Private = make([]byte, 1025) }, tpm.CodeSealForeign, "shape"},
		{"a private part of zeros", func(o *tpm.Sealed) { o.Private = make([]byte, 200) }, tpm.CodeSealForeign, "another TPM"},
		{"a private part cut short", func(o *tpm.Sealed) { o.Private = o.Private[:20] }, tpm.CodeSealForeign, "another TPM"},
		{"a huge public part", func(o *tpm.Sealed) { o.Public = make([]byte, 513) }, tpm.CodeSealForeign, "shape"},
		{"a public part of noise", func(o *tpm.Sealed) { o.Public = bytes.Repeat([]byte{0xff}, 90) }, tpm.CodeSealForeign, "its public area"},
		{"a public part with a tail", func(o *tpm.Sealed) { o.Public = append(bytes.Clone(o.Public), 0) }, tpm.CodeSealForeign, "bytes too many"},
		{"a key in its place", func(o *tpm.Sealed) { o.Public = tpm2.Marshal(tpm2.ECCSRKTemplate) }, tpm.CodeSealForeign, "no sealed secret"},
		{"one made elsewhere", public(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false }), tpm.CodeSealForeign, "its attributes"},
		{"one that signs", public(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SignEncrypt = true }), tpm.CodeSealForeign, "its attributes"},
		{"another policy", public(func(p *tpm2.TPMTPublic) { p.AuthPolicy.Buffer[0] ^= 1 }), tpm.CodeSealPolicy, "PCR 7 (sha256)"},
		{"a policy of another length", public(func(p *tpm2.TPMTPublic) { p.AuthPolicy.Buffer = p.AuthPolicy.Buffer[:20] }), tpm.CodeSealForeign, "not what is said"},
		{"a policy that nobody tells", func(o *tpm.Sealed) { o.Policy = nil }, tpm.CodeSealForeign, "not what is said"},
		{"too many steps", func(o *tpm.Sealed) { o.Policy = slices.Repeat([]tpm.Policy{tpm.PIN{}}, 5) }, tpm.CodeSealForeign, "shape"},
		{"a PIN that was not", func(o *tpm.Sealed) { o.Policy = []tpm.Policy{tpm.PIN{}} }, tpm.CodeSealForeign, "not what is said"},
		{"no PCR", func(o *tpm.Sealed) { o.Policy = []tpm.Policy{tpm.PCRs{Bank: crypto.SHA256}} }, tpm.CodeUnsupported, "no PCR"},
		{"PCR 24", func(o *tpm.Sealed) { o.Policy = []tpm.Policy{tpm.PCRs{Bank: crypto.SHA256, PCRs: []int{24}}} }, tpm.CodeUnsupported, "no PCR 24"},
		{"a bank that is none", func(o *tpm.Sealed) { o.Policy = []tpm.Policy{tpm.PCRs{Bank: crypto.MD5, PCRs: []int{7}}} }, tpm.CodeUnsupported, "bank"},
		{"a tiny key that signs", func(o *tpm.Sealed) {
			o.Policy = []tpm.Policy{tpm.SignedPCRs{PCRs: pcr7, Modulus: []byte{7}}}
		}, tpm.CodeUnsupported, "8 bits"},
		{"no parent", func(o *tpm.Sealed) { o.Parent = tpm.Parent{} }, tpm.CodeUnsupported, "no template"},
	} {
		o := good
		o.Public = bytes.Clone(good.Public)
		row.spoil(&o)
		got, err := dev.Unseal(t.Context(), o)
		if codeOf(err) != row.code || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: Unseal = %q, %v, want code %s that says %q", row.name, got.Reveal(), err, row.code, row.says)
		}
		if n := handles(t, raw); n != 0 {
			t.Fatalf("%s: %d handles are left", row.name, n)
		}
	}
}

// TestUnsealBankOff: a bank that is off is named; some TPMs would take the
// step as one for no PCR at all.
func TestUnsealBankOff(t *testing.T) {
	raw := rawBus(t, tpmtest.Start(t))
	o := sealing{tpm.SRKP256, []tpm.Policy{pcrs01}, nil}.seal(t, raw)
	off := &bus{TPM: raw, change: func(command, reply []byte) []byte {
		sha1 := bytes.Index(reply, []byte{0, 4, 3, 0xff, 0xff, 0xff})
		if commandCode(command) == tpm2.TPMCCGetCapability && sha1 > 0 {
			clear(reply[sha1+3 : sha1+6])
		}
		return reply
	}}
	if _, err := tpm.New(off).Unseal(t.Context(), o); codeOf(err) != tpm.CodeSealPolicy || !strings.Contains(err.Error(), "bank sha1 is off") {
		t.Errorf("Unseal = %v", err)
	}
}
