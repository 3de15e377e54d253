package policy

import (
	"fmt"
	"maps"
	"time"
)

// Terms are what an operator set for one machine, and what the limits of its
// settings count.
type Terms struct {
	Labels   map[string]string `json:"labels,omitempty"`
	Settings Settings          `json:"settings,omitzero"` // the machine's own, over those of the configuration
	Approved time.Time         `json:"approved,omitzero"`
	Lapsed   time.Time         `json:"lapsed,omitzero"`         // when its approval ended by silence
	Booted   bool              `json:"booted,omitempty"`        // it was given a secret since it was installed
	Stores   []int64           `json:"recent_stores,omitempty"` // Unix seconds, of puts and enrolls of the last hour, while they have a limit
}

// Renew is an operator's word that the machine is as it should be.
func (t *Terms) Renew(now time.Time) { t.Approved, t.Lapsed = now.UTC(), time.Time{} }

// CountStore counts a put or an enroll.
func (t *Terms) CountStore(now time.Time, s Settings) {
	if s.Stores() == 0 {
		t.Stores = nil
		return
	}
	t.Stores = append(OfHour(t.Stores, now), now.Unix())
}

// CountHour adds a release to those of the last hour, while they have a limit.
func (s Settings) CountHour(times []int64, now time.Time) []int64 {
	if s.PerHour == nil || *s.PerHour == 0 {
		return nil
	}
	return append(OfHour(times, now), now.Unix())
}

// maxJump is how far a wall clock may be corrected at once without doubt in
// how long machines were silent.
const maxJump = time.Hour

// Facts are those of the terms, at a time; jump is by how much the clock was
// set since the server runs.
func (t Terms) Facts(now time.Time, jump time.Duration) Facts {
	f := Facts{Now: now, Lapsed: t.Lapsed, Approved: t.Approved, Booted: t.Booted, Stores: len(OfHour(t.Stores, now)), Jumped: jump}
	if t.Lapsed.After(now.Add(maxJump)) {
		f.Lapsed = time.Time{} // by a clock that was wrong, and is right again
	}
	if jump.Abs() < maxJump {
		f.Jumped = 0
	}
	return f
}

// OfHour are the times of the hour before now, in Unix seconds.
func OfHour(times []int64, now time.Time) (recent []int64) {
	for _, at := range times {
		if now.Unix()-at < int64(time.Hour/time.Second) {
			recent = append(recent, at)
		}
	}
	return recent
}

// A Change changes what an operator set for one machine.
type Change struct {
	Settings Settings          `json:"settings,omitzero"` // those that are given replace the machine's own
	Labels   map[string]string `json:"labels,omitempty"`  // an empty value removes the label
	Clear    []string          `json:"clear,omitempty"`   // settings to forget, so that the configuration's hold
}

// maxLabels bounds the labels of one machine.
const maxLabels = 32

// Allows says what is wrong with a change of a machine of a protocol.
func (p *Policy) Allows(protocol Protocol, c Change) error {
	if err := p.Check(c.Settings); err != nil {
		return fmt.Errorf("setting: %w", err)
	}
	if err := protocol.check(c.Settings); err != nil {
		return fmt.Errorf("setting: %w", err)
	}
	if c.Settings.Approvals != nil { // one person could take it back again
		return fmt.Errorf("setting: approvals is for the configuration: policy.defaults, or the settings of a group")
	}
	for key, value := range c.Labels {
		if _, _, err := ParseLabel(key + "=" + value); err != nil {
			return fmt.Errorf("setting: %w", err)
		}
		if key == labelProtocol {
			return fmt.Errorf("setting: label %s: each machine has it already, with the protocol that it speaks", labelProtocol)
		}
	}
	for _, name := range c.Clear {
		if protocol.Lacks(name) {
			return fmt.Errorf("clearing %s: %s", name, without[protocol][name])
		}
	}
	_, err := Settings{}.Without(c.Clear)
	return err
}

// Set makes a change that the policy allows.
func (t *Terms) Set(c Change) error {
	kept, err := t.Settings.Without(c.Clear)
	if err != nil {
		return err
	}
	labels := maps.Clone(t.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, c.Labels)
	maps.DeleteFunc(labels, func(_, value string) bool { return value == "" })
	if len(labels) > maxLabels {
		return fmt.Errorf("more than %d labels", maxLabels)
	}

	t.Settings, t.Labels = c.Settings.Over(kept), labels
	if c.Settings.Role == RoleInstall {
		t.Booted = false
	}
	return nil
}
