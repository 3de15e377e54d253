package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"latchkey/boot/codes"
	"latchkey/internal/cli"
	"latchkey/internal/endpoint"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source"
	"latchkey/unlock/source/clevis"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/source/prompt"
	"latchkey/unlock/source/together"
	"latchkey/unlock/tpm"
)

// choose says what opens the volume.
func (o openVolume) choose(c *cobra.Command, one *oneVolume) error {
	switch {
	case o.keyFile != "":
		one.sources = []namedSource{{plan.SourceKeyFile, keySource{o.keyFile}}}
		return nil
	case o.plan == "":
		return o.ask(c, one)
	}

	p, v, err := plannedVolume(o.plan, one.volume.Header.UUID())
	if err != nil {
		return err
	}
	if one.volume.Name == "" {
		one.volume.Name = v.Name
	}
	if one.volume.Digest, err = v.PinnedDigest(); err != nil {
		return err
	}
	if err := accepted(one.volume.Header, v); err != nil {
		return &cli.Exit{Code: cli.Rejected, Err: codes.Fail("header-rejected", "%s on %s: %w", v.Name, one.volume.Device, err)}
	}
	planned := dm.OptionsOf(v.Options)
	planned.ReadOnly = planned.ReadOnly || o.readOnly
	planned.AllowDiscards = planned.AllowDiscards || o.discard
	one.volume.Options = planned

	if o.source != "" && !slices.Contains(v.Sources, o.source) {
		return cli.Usagef("--source %s: the plan lists %s for this volume", o.source, strings.Join(v.Sources, ", "))
	}
	one.mixer = together.New(one.volume.Header, p.WaysOf(v), plan.KindOf)
	for _, name := range v.Sources {
		if o.source != "" && name != o.source {
			continue
		}
		if r, ok := p.Recipe(name); ok && one.mixer.Check(r.Ways) != nil {
			one.sources = append(one.sources, namedSource{name, hopeless{one.mixer.Check(r.Ways)}})
			continue
		}
		for _, member := range p.Members(name) {
			if err := o.planned(c, one, p, member); err != nil {
				return err
			}
		}
	}
	return nil
}

// A hopeless source is a recipe that no token goes with.
type hopeless struct{ why error }

func (h hopeless) Run(context.Context, source.Opener) error { return h.why }

// sealedParts are the secrets of the TPM that are parts.
func (o *oneVolume) sealedParts(*unlock.Volume) (all []cryptenroll.Part, ok bool) {
	for _, t := range o.mixer.Sealed() {
		all = append(all, cryptenroll.Part{Token: t.Secret(), Known: t.Known()})
	}
	return all, o.mixer.Has(plan.SourceSystemd)
}

// accepted refuses what a boot by the plan refuses of a header.
func accepted(h *luks2.Header, v plan.Volume) error {
	switch {
	case h.Type() == "LUKS1" && !v.LUKS1:
		return fmt.Errorf("%w, and the plan does not say luks1: true", luks2.ErrLUKS1)
	case h.Accept() == luks2.Cryptsetup && v.Accept != plan.AcceptCryptsetup:
		return fmt.Errorf("it has ciphers or hashes (%s) that the plan does not accept: accept: %s (latchkey volume inspect says which)", strings.Join(h.Ciphers(), ", "), plan.AcceptCryptsetup)
	}
	return nil
}

// planned is one source of the plan.
func (o openVolume) planned(c *cobra.Command, one *oneVolume, p *plan.Plan, name string) error {
	log := slog.New(slog.DiscardHandler) // what is wrong is in the error
	add := func(s source.Source) { one.sources = append(one.sources, namedSource{name, s}) }
	switch name {
	case plan.SourceKMS:
		add(&kmsSource{open: o, plan: p})
	case plan.SourceSystemd:
		t := &cryptenroll.TPM2{
			Allowed: p.Systemd.Sealed, Log: log, Parts: one.sealedParts,
			TPM:        func(context.Context) (cryptenroll.Unsealer, error) { return one.chip(o.tpm) },
			Signatures: func() ([]byte, error) { return os.ReadFile("/run/systemd/tpm2-pcr-signature.json") },
		}
		if console := o.terminal(c); p.AsksForPIN() && console != nil {
			people := &prompt.Prompt{Console: console, Log: log}
			t.Ask = func(ctx context.Context, q cryptenroll.Question) (secret.Bytes, error) {
				return people.Ask(ctx, q.String())
			}
		}
		add(t)
	case plan.SourceClevis:
		wait := p.TangTime()
		if wait == 0 { // for ever, in a boot
			wait = tangWait
		}
		add(&clevis.Clevis{
			Allowed: p.Clevis.Tang, Sealed: p.Clevis.Sealed, Wait: wait, Asker: tangAsker{},
			TPM: func(context.Context) (clevis.Unsealer, error) { return one.chip(o.tpm) },
		})
	case plan.SourcePrompt:
		return o.ask(c, one)
	default:
		f, ok := p.KeyFile(name)
		if !ok {
			add(bootOnly{})
			return nil
		}
		add(plannedKey{f})
	}
	return nil
}

// ask has a person type at the terminal, if there is one.
func (o openVolume) ask(c *cobra.Command, one *oneVolume) error {
	console := o.terminal(c)
	if console == nil {
		if o.plan != "" && o.source == "" {
			return nil // the other sources are asked
		}
		return cli.Usagef("nobody can be asked for a passphrase here: --key-file - reads one from standard input")
	}
	one.sources = append(one.sources, namedSource{plan.SourcePrompt, &prompt.Prompt{Console: console, Log: slog.New(slog.DiscardHandler)}})
	return nil
}

// terminal opens the terminal at which a person is asked; nil if nobody is
// there. Without a command nobody is.
func (o openVolume) terminal(c *cobra.Command) func() (io.ReadWriteCloser, error) {
	if o.console != nil || c == nil {
		return o.console
	}
	if in, ok := c.InOrStdin().(*os.File); !ok || !isTerminal(in) {
		return nil
	}
	return func() (io.ReadWriteCloser, error) { return prompt.Terminal("/dev/tty") }
}

// A keySource has the key of a file tried.
type keySource struct{ path string }

func (k keySource) Run(ctx context.Context, to source.Opener) error {
	key, err := readKeyFile(k.path)
	if err != nil {
		return err
	}
	defer key.Wipe()
	for _, v := range to.Closed() {
		err = to.Try(ctx, source.Offer{Keys: []source.Key{{Volume: v, Passphrases: func(context.Context) ([]unlock.Candidate, error) {
			return []unlock.Candidate{{Passphrase: key.Clone()}}, nil
		}}}})[0]
	}
	return wrongKey(k.path, key, err)
}

// A plannedKey is a key file of the plan: one in the image is where the image
// was built, one on a stick has to be mounted first.
type plannedKey struct{ plan.KeyFile }

func (k plannedKey) Run(ctx context.Context, to source.Opener) error {
	if k.Device != "" {
		return fmt.Errorf("%s: mount it, and name the file with --key-file", k.KeyFile)
	}
	return keySource{k.Path}.Run(ctx, to)
}

// A bootOnly stands for a source that a boot alone asks.
type bootOnly struct{}

func (bootOnly) Run(context.Context, source.Opener) error {
	return errors.New("a boot alone asks this source")
}

// A kmsSource asks the key server as a boot does.
type kmsSource struct {
	open openVolume
	plan *plan.Plan
}

func (k *kmsSource) Run(ctx context.Context, to source.Opener) error {
	urls := k.plan.Find.URLs
	if k.open.kms != "" {
		urls = []string{k.open.kms}
	}
	if len(urls) == 0 {
		return errors.New("the plan names no key server: --kms http://HOST[:PORT] does (latchkey discover finds one)")
	}
	client := kms.Client{Dial: dialKMS}
	for _, key := range k.plan.Trust.KMS {
		pin, err := kms.ParsePin(string(key))
		if err != nil {
			return err
		}
		client.Pins = append(client.Pins, pin)
	}
	id, done, err := openIdentity(ctx, k.open.tpm)
	if err != nil {
		return err
	}
	defer done()

	var all []error
	for _, url := range urls {
		for _, v := range to.Closed() {
			all = append(all, askOne(ctx, &client, url, id, to, v))
		}
	}
	return errors.Join(all...)
}

func askOne(ctx context.Context, client *kms.Client, url string, id *tpm.Identity, to source.Opener, v *unlock.Volume) error {
	want, err := v.Wanted()
	if err != nil {
		return err
	}
	words := id.NodeID().Words()
	g, err := client.Get(ctx, url, id, []kms.Want{want})
	if err != nil {
		return kmsExit(fmt.Errorf("this machine is %q: %w", words, err), words)
	}
	defer g.Wipe()
	one := g.Volumes[0]
	if one.Status != kms.OK {
		code := one.Status.Code()
		return &cli.Exit{Code: cli.Refused, Err: codes.Fail(code, "volume %s: the key server says %s (%s)", one.UUID, code, kmsAdvice(code, words))}
	}
	return to.Try(ctx, source.Offer{Keys: []source.Key{{
		Volume: v, Want: unlock.Expect{Digest: one.Digest, MAC: one.MAC},
		Passphrases: func(ctx context.Context) ([]unlock.Candidate, error) {
			keys, err := unlock.Granted(ctx, one, id)
			for i, k := range keys {
				keys[i].Passphrase = k.Passphrase.Clone() // what is granted is wiped with the grant
			}
			return keys, err
		},
	}}})[0]
}

// tangWait is how long tang servers are asked where a boot never ends that.
const tangWait = 30 * time.Second

// tangAsker asks a tang server by the machine's own network.
type tangAsker struct{}

func (tangAsker) Ask(ctx context.Context, url, path string, body []byte, take func([]byte) error) error {
	to, err := endpoint.ParseURL(url)
	if err != nil {
		return err
	}
	reply, err := kms.Post(ctx, dialKMS, to, path, "application/jwk+json", body)
	if e, ok := errors.AsType[*kms.Error](err); ok {
		err = e.Err // the line has the URL already
	}
	if status, ok := errors.AsType[kms.HTTPStatus](err); ok && status == 404 {
		return fmt.Errorf("%w (%w)", clevis.ErrNoKey, status)
	}
	if err != nil {
		return err
	}
	return take(reply)
}
