package boottest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/latch"
	"latchkey/boot/wire"
	"latchkey/boot/worker"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/tpm"
)

// A TPM is one in some state.
type TPM struct {
	State   string        // "" is good; "missing", "failed", "auth", "unsupported", "slow", "stuck"
	Until   time.Duration // since the boot began: good from then on; 0 is never
	Refuses uint8         // a PCR that cannot be extended, 0 for none
	PCRs    [24][32]byte
	Extends [24]int
	NV      map[uint32]string // what Kairos keeps there
	PIN     string            // of sealed secrets that want one
	Wrongs  int               // PINs that were; more than eight are a lockout
	Known   []kms.PCR         // what the worker was told of PCRs
	Doubts  int               // how often it was asked whether its keys are its own

	machine *Machine
	user    *process // the worker that has it open: /dev/tpm0 has one
	mu      sync.Mutex
	loaded  int // objects
}

// slowly is what each use of a slow TPM takes.
const slowly = 20 * time.Second

func enterInitrd() [32]byte { return sha256.Sum256([]byte("enter-initrd")) }

// Works tells whether PCRs can be extended.
func (t *TPM) Works() bool { return t.State == "" || t.State == "auth" || t.State == "slow" }

// Set changes its state.
func (t *TPM) Set(state string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.State = state
}

func (t *TPM) state() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Until > 0 && time.Since(t.machine.began) >= t.Until {
		return ""
	}
	return t.State
}

// use is one command.
func (t *TPM) use(ctx context.Context, p *process) error {
	switch t.state() {
	case "slow":
		select {
		case <-time.After(slowly):
		case <-ctx.Done():
			return ctx.Err()
		case <-p.killed:
			return errKilled
		}
	case "stuck":
		p.stick()
	case "failed":
		return codes.Fail(tpm.CodeFailed, "TPM_RC_FAILURE")
	case "unsupported":
		return codes.Fail(tpm.CodeUnsupported, "the TPM has no SHA-256 bank")
	}
	return p.alive()
}

// opened is an open TPM in one process.
type opened struct {
	*TPM
	p *process
}

// OpenTPM opens it for the latch.
func (l latchProcess) OpenTPM(ctx context.Context) (latch.TPM, error) {
	t := &l.machine.TPM
	if t.state() == "missing" {
		select {
		case <-time.After(30 * time.Second):
		case <-l.killed:
			return nil, errKilled
		}
		if t.state() == "missing" {
			return nil, codes.Fail(codes.TPMMissing, "no /dev/tpmrm0 after 30s")
		}
	}
	return opened{t, l.process}, nil
}

func (o opened) ReadPCR(ctx context.Context, pcr int) ([32]byte, error) {
	values, err := o.ReadPCRs(ctx, pcr)
	return values[pcr], err
}

func (o opened) ReadPCRs(ctx context.Context, pcrs ...int) (map[int][32]byte, error) {
	if err := o.use(ctx, o.p); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	values := map[int][32]byte{}
	for _, pcr := range pcrs {
		values[pcr] = o.PCRs[pcr]
	}
	return values, nil
}

func (o opened) Extend(ctx context.Context, pcr int, digest func(crypto.Hash) []byte) error {
	if err := o.use(ctx, o.p); err != nil {
		return err
	}
	if pcr == int(o.Refuses) && pcr != 0 {
		return codes.Fail(tpm.CodeFailed, "PCR %d: TPM_RC_FAILURE", pcr)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.PCRs[pcr] = wire.Extended(o.PCRs[pcr], [32]byte(digest(crypto.SHA256)))
	o.Extends[pcr]++
	return nil
}

// Banks are all that a TPM may have on.
func (opened) Banks(context.Context) ([]string, error) {
	return []string{"sha1", "sha256", "sha384", "sha512"}, nil
}

func (opened) Close() error { return nil }

// OpenTPM opens it for the worker.
func (w workerProcess) OpenTPM() (worker.TPM, error) {
	if w.machine.TPM.state() == "missing" {
		return nil, codes.Fail(tpm.CodeAbsent, "no /dev/tpm0")
	}
	t := &w.machine.TPM
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.user == w.process {
		return nil, codes.Fail(tpm.CodeAbsent, "/dev/tpm0: device or resource busy")
	}
	t.user = w.process
	return chip{opened{&w.machine.TPM, w.process}}, nil
}

type chip struct{ opened }

func (c chip) Identify(ctx context.Context, _ tpm.Options) (worker.Identity, string, error) {
	if c.state() == "auth" {
		return nil, "", codes.Fail(tpm.CodeAuth, "the endorsement hierarchy has a password")
	}
	if err := c.use(ctx, c.p); err != nil {
		return nil, "", err
	}
	c.load(2)
	return &identity{opened: c.opened}, "commands=2", nil
}

// Unseal gives what is sealed, in clear, while PCR 7 is zero if the policy
// has steps.
func (c chip) Unseal(ctx context.Context, o tpm.Sealed) (secret.Bytes, error) {
	if err := c.use(ctx, c.p); err != nil {
		return secret.Bytes{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(o.Policy, tpm.Policy(tpm.PIN{})) {
		if err := c.pin(o.PIN); err != nil {
			return secret.Bytes{}, err
		}
	}
	if len(o.Policy) > 0 && c.PCRs[7] != [32]byte{} {
		return secret.Bytes{}, codes.Fail(tpm.CodeSealPolicy, "PCR 7 (sha256) has other values than when it was sealed")
	}
	return secret.Own(bytes.Clone(o.Private)), nil
}

// pin judges what was made of a PIN without salt.
func (t *TPM) pin(auth secret.Bytes) error {
	want := sha256.Sum256([]byte(t.PIN))
	switch {
	case t.Wrongs > 8:
		return codes.Fail(tpm.CodeLockout, "TPM_RC_LOCKOUT: too many wrong PINs were tried, and the TPM takes none for now")
	case !bytes.Equal(auth.Reveal(), want[:]):
		t.Wrongs++
		return codes.Fail(tpm.CodePIN, "the TPM does not take the PIN")
	}
	return nil
}

func (t *TPM) load(objects int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loaded = objects
}

// Loaded is how many objects the machine's programs have left in the TPM.
func (t *TPM) Loaded() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.loaded
}

// identity is the keys of a TPM.
type identity struct {
	opened
	closed atomic.Bool
}

func (*identity) EKPublic() []byte                     { return []byte("EK") }
func (*identity) EKCert() []byte                       { return nil }
func (*identity) AKPublic() []byte                     { return []byte("AK") }
func (*identity) NodeID() kms.NodeID                   { return kms.NodeIDOf([]byte("EK")) }
func (*identity) Certify(context.Context)              {}
func (i *identity) Know(values []kms.PCR)              { i.Known = values }
func (*identity) Prepare(context.Context, []int) error { return nil }
func (i *identity) Doubt(context.Context) error        { i.Doubts++; return nil }
func (*identity) PrepareUnseal(context.Context) error  { return nil }
func (i *identity) Rest()                              { i.load(1) }

func (i *identity) Close() {
	if i.closed.Swap(true) {
		return
	}
	i.use(background, i.p)
	i.load(0)
	i.machine.note("the TPM's keys are unloaded")
}

// use is one command with a key.
func (i *identity) use(ctx context.Context, p *process) error {
	if i.closed.Load() && ctx != background {
		return codes.Fail(tpm.CodeFailed, "TPM_RC_HANDLE: its keys are unloaded")
	}
	return i.opened.use(ctx, p)
}

func (i *identity) Activate(ctx context.Context, _, _ []byte) (secret.Bytes, error) {
	return secret.Own([]byte("activated")), i.use(ctx, i.p)
}

func (i *identity) Quote(ctx context.Context, pcrs []int, _ []byte) (q kms.Quote, err error) {
	if err := i.use(ctx, i.p); err != nil {
		return q, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, n := range pcrs {
		q.PCRs = append(q.PCRs, kms.PCR{Index: n, Value: i.PCRs[n]})
	}
	return q, nil
}

// BootLog is empty: this machine's firmware leaves none.
func (*identity) BootLog(context.Context) (kms.BootLog, error) { return kms.BootLog{}, nil }

// sealed stands in front of what is sealed.
var sealed = []byte("sealed: ")

func (i *identity) Seal(ctx context.Context, s secret.Bytes) ([]byte, error) {
	return append(bytes.Clone(sealed), s.Reveal()...), i.use(ctx, i.p)
}

func (i *identity) Unseal(ctx context.Context, blob []byte) (secret.Bytes, error) {
	plain, ok := bytes.CutPrefix(blob, sealed)
	if !ok {
		return secret.Bytes{}, codes.Fail(tpm.CodeSealForeign, "it was sealed by another TPM")
	}
	return secret.Own(bytes.Clone(plain)), i.use(ctx, i.p)
}

var errKilled = errors.New("this process was killed")
