package config

// A Metrics serves /metrics, /healthz and /readyz, if it has an
// address.
type Metrics struct {
	Address string `yaml:"address" restart:"yes"` // host:port
	TLS     *TLS   `yaml:"tls" restart:"yes"`
}

func (s *Metrics) check() error {
	if s.Address == "" && s.TLS == nil {
		return nil
	}
	return (&Endpoint{Address: s.Address, TLS: s.TLS}).check()
}
