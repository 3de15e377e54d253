package config

// A SitesSection answers the servers of sites, if it has an address. Both
// sides know each other by keys: there is no certificate to keep.
type SitesSection struct {
	Address string `yaml:"address" restart:"yes"` // host:port
}

func (s *SitesSection) check() error {
	if s.Address == "" {
		return nil
	}
	return (&Endpoint{Address: s.Address}).check()
}
