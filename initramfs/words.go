package initramfs

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/internal/plan"
	"latchkey/internal/spelling"
)

// sourceWords are all sources; plainSources those that take no settings.
var (
	sourceWords = []string{
		plan.SourceKMS, plan.SourcePush, plan.SourcePrompt, plan.SourceKeyFile, plan.SourceClevis, plan.SourceSystemd, plan.SourceKairos,
		plan.SourceTalosKMS, plan.SourceTalosTPM, plan.SourceTalosNode,
	}
	plainSources = []string{plan.SourceKMS, plan.SourcePush, plan.SourcePrompt}
)

// UnknownKey implements strictyaml.KeyTeller, for sources that are a mapping.
func (c *SourceConfig) UnknownKey(key string) error {
	if slices.Contains(plainSources, key) {
		return fmt.Errorf("%s takes no settings: write - %s", key, key)
	}
	return unknownSource(key)
}

func unknownSource(word string) error {
	return fmt.Errorf("%.64q is no source%s", word, spelling.Suggest(word, sourceWords))
}

// lowered are hex digits as the plan has them.
func lowered(list []string) (all []string) {
	for _, s := range list {
		all = append(all, strings.ToLower(s))
	}
	return all
}

// shortest is the least that is waited for anything: the shorter is a unit
// that was mistaken.
const shortest = time.Second

// checkWaits wants times that may be: 0 is for ever, or what each says.
func checkWaits(p *plan.Plan) error {
	type wait struct {
		what string
		is   time.Duration
	}
	all := []wait{
		{"wait", p.Wait},
		{"find.timeout", p.Find.Timeout},
		{"clevis: wait", p.Clevis.Wait},
		{"kairos: wait", p.Kairos.Wait},
		{plan.SourceTalosKMS + ": wait", p.Talos.Wait},
	}
	for _, f := range p.KeyFiles {
		all = append(all, wait{f.Name + ": wait", f.Wait})
	}
	for _, w := range all {
		if w.is > 0 && w.is < shortest {
			return fmt.Errorf("%w: %s is %s, want %s or more; 0s is for ever", plan.ErrInvalid, w.what, w.is, shortest)
		}
	}
	return nil
}
