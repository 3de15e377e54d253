package config

import "latchkey/kms/server/policy"

// A TangSection says which clients of tang are answered; listeners say where.
type TangSection struct {
	Sources   []Prefix        `yaml:"sources"`    // networks; if any, others get nothing
	Known     []Prefix        `yaml:"known"`      // networks where clients are: one from elsewhere is told of
	Windows   []policy.Window `yaml:"windows"`    // if any, outside of them nobody gets anything
	PerMinute int             `yaml:"per-minute"` // how often a source may ask; 0 is the default
}

// maxPerMinute bounds what a source may ask: more is no limit.
const maxPerMinute = 1_000_000

func (s *TangSection) check() error {
	for key, empty := range map[string]bool{
		"sources": s.Sources != nil && len(s.Sources) == 0, "known": s.Known != nil && len(s.Known) == 0, "windows": s.Windows != nil && len(s.Windows) == 0,
	} {
		if empty {
			return faultf(key, "an empty list could mean nobody or everybody: leave the key out for everybody")
		}
	}
	if s.PerMinute < 0 || s.PerMinute > maxPerMinute {
		return faultf("per-minute", "%d is not between 1 and %d", s.PerMinute, maxPerMinute)
	}
	return nil
}

// checkListeners: what this section says is not said for nothing.
func (s *TangSection) checkListeners(l Listeners) error {
	if !l.Speak(Tang) && len(s.Sources)+len(s.Known)+len(s.Windows)+s.PerMinute > 0 {
		return faultf("tang", "no listener speaks tang: name it in listen[].protocols, or with --protocol")
	}
	return nil
}
