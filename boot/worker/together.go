package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/plan"
	"latchkey/unlock"
	"latchkey/unlock/source"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/source/together"
)

// errKept is why a volume is closed when a source has yielded a part of its
// key, and others have not yet. The source is not told.
var errKept = codes.Fail("left-closed", "a part of its key is there, and the others are not")

// lists tells whether a volume has a source, alone or in a recipe.
func (o *openings) lists(v *opening, source string) bool {
	return slices.Contains(v.disk.planned.Sources, source) || v.mixer.Has(source)
}

// lostAll tells whether what a volume lists opens it no more: a source, or a
// recipe.
func (o *openings) lostAll(v *opening, name string) bool {
	r, ok := o.worker.plan.Recipe(name)
	if !ok {
		return v.lost[name] != nil
	}
	return v.mixer.Check(r.Ways) != nil || v.mixer.Lost(r.Ways, func(member string) bool { return v.lost[member] != nil })
}

// lostWhy is why nothing opens a volume any more; nil if something may.
func (o *openings) lostWhy(v *opening) error {
	var errs []error
	for _, name := range v.disk.planned.Sources {
		if !o.lostAll(v, name) {
			return nil
		}
		if r, ok := o.worker.plan.Recipe(name); ok && v.mixer.Check(r.Ways) != nil {
			errs = append(errs, fmt.Errorf("volume %s: %w", v.disk.Name, v.mixer.Check(r.Ways)))
			continue
		}
		for _, m := range o.worker.plan.Members(name) {
			// one that has given its part has nothing else, which tells nobody why
			nothing := v.mixer.Kept(m) || m == plan.SourcePush
			if err := v.lost[m]; err != nil && !(nothing && errors.Is(err, source.ErrNotMine)) {
				errs = append(errs, err)
			}
		}
	}
	if len(errs) == 0 {
		return v.err
	}
	return errors.Join(errs...)
}

// mix keeps what a source has yielded as a part of a volume's key, when the
// header has been judged. If the other parts are there, the try goes on with
// what they make together; else it ends with errKept.
func (w *worker) mix(ctx context.Context, o *openings, t *try, limit time.Duration) error {
	v := t.of
	made, err := step(ctx, w, "part", limit, func(ctx context.Context) ([]unlock.Candidate, string, error) {
		text := v.disk.Name + " " + t.by
		if err := v.disk.Judge(t.Want); err != nil {
			return nil, text, err
		}
		keys, err := t.Passphrases(ctx)
		if err != nil {
			return nil, text, err
		}
		defer wipeAll(keys)
		o.mu.Lock()
		defer o.mu.Unlock()
		v.want = v.want.And(t.Want)
		made, err := v.mixer.Add(t.by, keys)
		return made, text, err
	})
	if err != nil {
		return err
	}
	if len(made) == 0 {
		return errKept
	}
	for _, name := range v.disk.planned.Sources {
		if slices.Contains(w.plan.Members(name), t.by) {
			t.from = name
		}
	}
	t.Want, t.Keep = v.want, false
	t.Passphrases = func(context.Context) ([]unlock.Candidate, error) { return made, nil }
	return nil
}

// mixed says of a try with all parts why the volume is closed.
func mixed(t try, err error) error {
	if err == nil || !t.of.mixer.Has(t.by) || codes.Of(err) != unlock.CodeWrongKey {
		return err
	}
	return codes.Fail(together.CodeWrong, "%w: all parts of its key are there, and one is not what the keyslot was enrolled with", err)
}

// sealedParts are the secrets of the TPM that are parts.
func (o *openings) sealedParts(v *unlock.Volume) (all []cryptenroll.Part, ok bool) {
	m := o.of(v).mixer
	for _, t := range m.Sealed() {
		all = append(all, cryptenroll.Part{Token: t.Secret(), Known: t.Known()})
	}
	return all, m.Has(together.TPM)
}

// leaveParts tells of the secrets that the key server has to be replaced and
// that are parts: their keyslots need the other parts, too.
func (k *keyServer) leaveParts(o *openings) {
	for _, v := range o.all {
		if k.grant == nil || !v.mixer.Has(together.KMS) {
			continue
		}
		if g, ok := k.grant.of(v.disk); ok && g.Staged.Kind != 0 {
			k.worker.log.Warn("the key server has a next secret, and the one that it has is a part of the volume's key, which is not rotated: latchkey volume enroll-together", "volume", v.disk.Name)
		}
	}
}
