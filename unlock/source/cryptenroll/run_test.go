package cryptenroll_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"latchkey/boot/boottest"
	"latchkey/boot/codes"
	"latchkey/internal/pcr"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/tpm"
)

// chip is a TPM that gives what stands in the private part in clear, if
// refuse does not refuse. It notes what it was asked for.
type chip struct {
	asked  []string
	refuse func(o tpm.Sealed) error
}

func (c *chip) Unseal(_ context.Context, o tpm.Sealed) (secret.Bytes, error) {
	c.asked = append(c.asked, string(o.Private))
	if err := c.refuse(o); err != nil {
		return secret.Bytes{}, err
	}
	return secret.Own(slices.Clone(o.Private)), nil
}

// volume is one with a token for each of the secrets; fields are added.
func volume(t *testing.T, d *boottest.Disk, fields string, secrets ...string) *unlock.Volume {
	t.Helper()
	for _, s := range secrets {
		var blob []byte
		for _, part := range []string{s, "public"} {
			blob = append(binary.BigEndian.AppendUint16(blob, uint16(len(part))), part...)
		}
		d.AddToken(fmt.Appendf(nil, `{"type":"systemd-tpm2","keyslots":["0"],"tpm2-blob":%q,"tpm2-pcrs":[7]%s}`, base64.StdEncoding.EncodeToString(blob), fields))
	}
	h, err := luks2.Read(d, int64(len(d.Bytes)))
	if err != nil {
		t.Fatal(err)
	}
	return &unlock.Volume{Name: d.Name, Header: h, Digest: make([]byte, 32)}
}

// opener opens a volume by the passphrase that stands for it.
type opener struct {
	volumes []*unlock.Volume
	opens   string // base64 of it
	offers  []int  // sizes
}

func (o *opener) Closed() []*unlock.Volume   { return slices.Clone(o.volumes) }
func (o *opener) Needed(*unlock.Volume) bool { return true }

func (o *opener) Try(ctx context.Context, offer source.Offer) (errs []error) {
	o.offers = append(o.offers, len(offer.Keys))
	for _, k := range offer.Keys {
		all, err := k.Passphrases(ctx)
		if err == nil && string(all[0].Passphrase.Reveal()) != base64.StdEncoding.EncodeToString([]byte(o.opens)) {
			err = errors.New("no keyslot takes it")
		}
		if err == nil {
			o.volumes = slices.DeleteFunc(o.volumes, func(v *unlock.Volume) bool { return v == k.Volume })
		}
		errs = append(errs, err)
	}
	return errs
}

func run(to source.Opener, c *chip, signatures []byte) error {
	return (&cryptenroll.TPM2{
		TPM:        func(context.Context) (cryptenroll.Unsealer, error) { return c, nil },
		Signatures: func() ([]byte, error) { return signatures, nil }, Log: slog.New(slog.DiscardHandler),
	}).Run(context.Background(), to)
}

func obeys(tpm.Sealed) error { return nil }

// TestRunTokens: the tokens of two volumes are tried in turn, side by side,
// until one opens.
func TestRunTokens(t *testing.T) {
	root, data := volume(t, boottest.RootDisk(), "", "a", "right", "c"), volume(t, boottest.DataDisk(), "", "right")
	to, c := &opener{volumes: []*unlock.Volume{root, data}, opens: "right"}, &chip{refuse: obeys}
	if err := run(to, c, nil); err != nil || len(to.volumes) != 0 {
		t.Errorf("Run = %v, closed %d", err, len(to.volumes))
	}
	if got := fmt.Sprint(c.asked, to.offers); got != "[a right right] [2 1]" {
		t.Errorf("asked, offers = %s, want one after the other, and none after the right one", got)
	}

	to = &opener{volumes: []*unlock.Volume{root}, opens: "another"}
	err := run(to, c, nil)
	if err == nil || strings.Count(err.Error(), "no keyslot takes it") != 3 {
		t.Errorf("Run = %v, want why each of three tokens opens nothing", err)
	}
}

// TestRunExponents: systemd wrote the exponent of a key that signs PCRs in
// two ways.
func TestRunExponents(t *testing.T) {
	key, text := signingKey(t)
	fields := fmt.Sprintf(`,"tpm2_pubkey_pcrs":[11],"tpm2_pubkey":%q`, base64.StdEncoding.EncodeToString(text))
	good := signatures(t, key, pcr.EnterInitrd)
	for _, want := range []uint32{0, 65537, 3} {
		to := &opener{volumes: []*unlock.Volume{volume(t, boottest.RootDisk(), fields, "right")}, opens: "right"}
		c := &chip{refuse: func(o tpm.Sealed) error {
			signed := o.Policy[0].(tpm.SignedPCRs)
			if signed.Signature(pcr.Policy11(pcr.Phases(pcr.EnterInitrd))) == nil {
				t.Error("the signature is not found")
			}
			if len(o.Policy) != 2 || signed.Exponent != want {
				return codes.Fail(tpm.CodeSealPolicy, "another key signs, says %d", signed.Exponent)
			}
			return nil
		}}
		err := run(to, c, good)
		if opened := len(to.volumes) == 0; opened != (want != 3) || err != nil && !strings.Contains(err.Error(), "says 0") {
			t.Errorf("exponent %d: open: %t, %v", want, opened, err)
		}
	}
}
