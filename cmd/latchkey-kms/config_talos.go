package main

import (
	"strconv"

	"latchkey/kms"
	"latchkey/kms/server"
)

// A talosSection serves machines of Talos Linux, if it has an address.
type talosSection struct {
	endpoint    `yaml:",inline"`
	Enroll      server.Enrollment `yaml:"enroll"`       // approve, closed, or tofu: any UUID
	Allow       []string          `yaml:"allow"`        // UUIDs; if any, no others are served
	Sources     []prefix          `yaml:"sources"`      // networks; if any, no others are served
	BindAddress bool              `yaml:"bind-address"` // blobs open only from where they were sealed
	Noise       bool              `yaml:"noise"`        // random bytes instead of a refusal

	allow []kms.UUID
}

func (s *talosSection) check() error {
	switch s.Enroll {
	case "", server.Approve, server.Closed, server.Tofu:
	default:
		return faultf("enroll", "%q must be approve, closed or tofu", s.Enroll)
	}

	s.allow = nil
	for i, text := range s.Allow {
		u, err := kms.ParseUUID(text)
		if err != nil {
			return faultf("allow["+strconv.Itoa(i)+"]", "%q is no UUID", text)
		}
		s.allow = append(s.allow, u)
	}

	if s.Address == "" {
		return nil
	}
	if s.TLS != nil && s.TLS.MinVersion == "1.2" {
		return faultf("tls.min-version", "1.2 is only for clients of Kairos")
	}

	if len(s.Proxies) > 0 && !s.ProxyProtocol {
		return faultf("trusted-proxies", "gRPC has no X-Forwarded-For: set proxy-protocol, too")
	}
	return s.endpoint.check()
}

// apply implements applied.
func (s *talosSection) apply(to *server.Server) {
	if s.Address == "" {
		return
	}
	to.SetTalos(server.TalosOptions{
		Enroll: s.Enroll, Allow: s.allow, Sources: prefixes(s.Sources), BindAddress: s.BindAddress, Noise: s.Noise,
	})
}
