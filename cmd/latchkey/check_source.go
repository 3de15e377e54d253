package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/disk"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/tpm"
)

// trySource is how long one source is tried: tang servers and TPMs answer in
// seconds or not at all.
const trySource = 20 * time.Second

// bootTells is what to do about what only a boot can tell.
const bootTells = "reboot with somebody at the console"

// sourceRemedy is what to do about a source that opens nothing.
const sourceRemedy = "latchkey volume status DEVICE --plan latchkey.yaml says what each source needs (docs/sources.md)"

// unjudged is said of what a machine proves by its TPM and its network.
var unjudged = finding{Result: doubtful, Text: "not judged: the TPM and the network here are not that system's", Remedy: "run it on that machine, or name its TPM with --tpm"}

// An answer is what a source came to for one volume.
type answer struct {
	source string
	finding
}

// opens tries what can be tried of a volume's sources. One that opens it, or
// may, makes the failure of another a warning.
func (c *checker) opens(ctx context.Context, p checkedPlan, v plan.Volume, f *disk.File, h *luks2.Header, k *kmsCheck) {
	var answers []answer
	for _, name := range v.Sources {
		a := answer{name, c.source(ctx, p, v, f, h, k, name)}
		a.Check, a.Subject = "opens", v.Name+" by "+name
		answers = append(answers, a)
	}
	alone := slices.ContainsFunc(answers, func(a answer) bool { return !byPerson(a.source) && a.Result == good })
	maybe := slices.ContainsFunc(answers, func(a answer) bool { return !byPerson(a.source) && a.Result == doubtful })
	for _, a := range answers {
		if a.Result == bad && (alone || maybe || v.NoFail) {
			a.Result = doubtful
		}
		c.all = append(c.all, a.finding)
	}
	switch {
	case alone || maybe || v.NoFail:
	case len(answers) == 1 && byPerson(answers[0].source):
		c.warn("opens", v.Name, "list a source besides prompt", "a person types a key at each boot")
	default:
		c.fail("opens", v.Name, "see to one of its sources, above", "nothing but a person opens it")
	}
}

// byPerson tells whether a person gives what the source yields.
func byPerson(source string) bool { return source == plan.SourcePrompt || source == plan.SourcePush }

// source tries one source, or says what speaks for it.
func (c *checker) source(ctx context.Context, p checkedPlan, v plan.Volume, f *disk.File, h *luks2.Header, k *kmsCheck, name string) finding {
	standing := sourcesOf(p.Plan, v, h)[slices.Index(v.Sources, name)]
	if _, ok := p.Recipe(name); ok {
		return togetherFinding(f.Name(), standing)
	}
	switch name {
	case plan.SourceKMS:
		return k.source(ctx, v, h, standing)
	case plan.SourcePrompt, plan.SourcePush:
		if len(standing.Keyslots) == 0 {
			return finding{Result: doubtful, Text: "no keyslot is a person's", Remedy: "latchkey volume add-recovery " + f.Name()}
		}
		return finding{Result: good, Text: slotWords(standing.Keyslots) + ", if all else fails"}
	}
	if _, isFile := p.KeyFile(name); c.elsewhere && !isFile {
		return unjudged
	}
	if standing.What == unseen || c.offline && name == plan.SourceClevis && len(p.Clevis.Tang) > 0 {
		return finding{Result: doubtful, Text: "not tried: a boot alone asks this source", Remedy: bootTells}
	}
	return c.try(ctx, p, v, f, h, name)
}

// togetherFinding goes by the tokens: the key server gives its part to a boot
// alone.
func togetherFinding(device string, standing standingSource) finding {
	if len(standing.Keyslots) == 0 {
		return finding{Result: bad, Text: standing.What, Remedy: "latchkey volume enroll-together " + device}
	}
	return finding{Result: doubtful, Text: slotWords(standing.Keyslots) + ": not tried: a boot alone asks for all parts", Remedy: bootTells}
}

// try opens the volume by a source as volume open does, and maps nothing.
func (c *checker) try(ctx context.Context, p checkedPlan, v plan.Volume, f *disk.File, h *luks2.Header, name string) finding {
	one := &oneVolume{file: f, volume: unlock.Volume{Name: v.Name, Device: f.Name(), Header: h}, mapper: mapNothing}
	file, isFile := p.KeyFile(name)
	switch key := p.content(file.InImage()); {
	case isFile && file.Device != "":
		return finding{Result: doubtful, Text: fmt.Sprintf("%s: not tried; is the device plugged in?", file), Remedy: bootTells}
	case isFile && p.tree != nil && key == nil:
		return finding{Result: bad, Text: "the image lacks " + file.String(), Remedy: "latchkey image update --all"}
	case isFile && p.tree == nil:
		one.sources = []namedSource{{name, keySource{c.update.path(file.Path)}}}
	case isFile:
		one.sources = []namedSource{{name, heldKey{secret.Own(slices.Clone(key))}}}
	default:
		if err := (openVolume{tpm: c.tpm}).planned(nil, one, p.Plan, name); err != nil {
			return finding{Result: bad, Text: err.Error(), Remedy: sourceRemedy}
		}
	}

	limited, cancel := context.WithTimeout(ctx, trySource)
	defer cancel()
	err := one.open(limited)
	switch {
	case err == nil && one.opened != nil:
		return finding{Result: good, Text: fmt.Sprintf("it opens keyslot %d", one.opened.Slot)}
	case limited.Err() != nil && ctx.Err() == nil:
		return finding{Result: bad, Text: fmt.Sprintf("no answer in %s", trySource), Remedy: "see whether the server or the TPM that it asks is up"}
	case codes.Of(err) == unlock.CodeWrongKey && isFile:
		return finding{Result: bad, Text: "its key opens no keyslot", Remedy: fmt.Sprintf("latchkey volume add-key --key-file FILE --new-key-file %s %s", c.update.path(file.Path), f.Name())}
	case p.AsksForPIN() && errors.Is(err, cryptenroll.ErrAsks):
		return finding{Result: doubtful, Text: "not tried: a person types the PIN of the TPM", Remedy: bootTells}
	case codes.Of(err) == tpm.CodeSealPolicy:
		return finding{Result: doubtful, Text: "it is bound to PCRs that are others on the running machine than in a boot, or changed: the next boot tells", Remedy: bootTells}
	}
	return finding{Result: bad, Text: strings.TrimPrefix(err.Error(), name+": "), Remedy: sourceRemedy}
}

// mapNothing is a device-mapper for what is only tried.
func mapNothing(dm.Target, luks2.VolumeKey) error { return nil }

// A heldKey is the key of a file in an image.
type heldKey struct{ key secret.Bytes }

func (k heldKey) Run(ctx context.Context, to source.Opener) (err error) {
	defer k.key.Wipe()
	for _, v := range to.Closed() {
		err = to.Try(ctx, source.Offer{Keys: []source.Key{{Volume: v, Passphrases: func(context.Context) ([]unlock.Candidate, error) {
			return []unlock.Candidate{{Passphrase: k.key.Clone()}}, nil
		}}}})[0]
	}
	return err
}
