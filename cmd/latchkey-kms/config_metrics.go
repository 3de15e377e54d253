package main

// A metricsSection serves /metrics, /healthz and /readyz, if it has an
// address.
type metricsSection struct {
	Address string     `yaml:"address" restart:"yes"` // host:port
	TLS     *tlsConfig `yaml:"tls" restart:"yes"`
}

func (s *metricsSection) check() error {
	if s.Address == "" && s.TLS == nil {
		return nil
	}
	return (&endpoint{Address: s.Address, TLS: s.TLS}).check()
}
