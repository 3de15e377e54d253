package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A setting is one field of Settings.
type setting struct {
	name   string // as the configuration has it
	lay    func(s, wider *Settings)
	forget func(*Settings)
	is     func(*Settings) bool
}

// settings are all there are.
var settings = []setting{
	single("silence", func(s *Settings) **Duration { return &s.Silence }),
	single("presence", func(s *Settings) **Duration { return &s.Presence }),
	single("moved", func(s *Settings) *Moved { return &s.Moved }),
	single("per-boot", func(s *Settings) **int { return &s.PerBoot }),
	single("per-hour", func(s *Settings) **int { return &s.PerHour }),
	single("stores-per-hour", func(s *Settings) **int { return &s.StoresPerHour }),
	single("own-volumes", func(s *Settings) **int { return &s.OwnVolumes }),
	several("networks", func(s *Settings) *[]netip.Prefix { return &s.Networks }),
	several("windows", func(s *Settings) *[]Window { return &s.Windows }),
	single("outside", func(s *Settings) *Outside { return &s.Outside }),
	several("releases", func(s *Settings) *[]string { return &s.Releases }),
	several("accept", func(s *Settings) *[]string { return &s.Accept }),
	single("role", func(s *Settings) *Role { return &s.Role }),
	highest("approvals", func(s *Settings) **int { return &s.Approvals }),
	single("announce", func(s *Settings) *Announce { return &s.Announce }),
	single("announce-for", func(s *Settings) **Duration { return &s.AnnounceFor }),
	single("unmeasured", func(s *Settings) *Unmeasured { return &s.Unmeasured }),
}

func single[T comparable](name string, at func(*Settings) *T) setting {
	var none T
	return setting{name, func(s, wider *Settings) {
		if *at(s) == none {
			*at(s) = *at(wider)
		}
	}, func(s *Settings) { *at(s) = none }, func(s *Settings) bool { return *at(s) != none }}
}

// highest is a setting that a narrower one can raise and not lower.
func highest(name string, at func(*Settings) **int) setting {
	return setting{name, func(s, wider *Settings) {
		if w := *at(wider); w != nil && (*at(s) == nil || *w > **at(s)) {
			*at(s) = w
		}
	}, func(s *Settings) { *at(s) = nil }, func(s *Settings) bool { return *at(s) != nil }}
}

func several[T any](name string, at func(*Settings) *[]T) setting {
	return setting{name, func(s, wider *Settings) {
		if *at(s) == nil {
			*at(s) = *at(wider)
		}
	}, func(s *Settings) { *at(s) = nil }, func(s *Settings) bool { return *at(s) != nil }}
}

// has tells whether a setting is set.
func (s Settings) has(name string) bool {
	return slices.ContainsFunc(settings, func(one setting) bool { return one.name == name && one.is(&s) })
}

// Over lays s over wider settings.
func (s Settings) Over(wider Settings) Settings {
	for _, one := range settings {
		one.lay(&s, &wider)
	}
	return s
}

// Without forgets settings by their names.
func (s Settings) Without(names []string) (Settings, error) {
	for _, name := range names {
		i := slices.IndexFunc(settings, func(one setting) bool { return one.name == name })
		if i < 0 {
			return s, fmt.Errorf("clearing %.20q: must be one of %s", name, strings.Join(SettingNames(), ", "))
		}
		settings[i].forget(&s)
	}
	return s, nil
}

// SettingNames are the names of all settings.
func SettingNames() (names []string) {
	for _, one := range settings {
		names = append(names, one.name)
	}
	return names
}
