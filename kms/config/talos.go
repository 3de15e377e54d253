package config

import (
	"strconv"

	"latchkey/kms"
)

// A Talos serves machines of Talos Linux, if it has an address.
type Talos struct {
	Endpoint    `yaml:",inline"`
	Enroll      Enrollment `yaml:"enroll" words:"approve closed tofu"` // approve, closed, or tofu: any UUID
	Allow       []string   `yaml:"allow"`                              // UUIDs; if any, no others are served
	Sources     []Prefix   `yaml:"sources"`                            // networks; if any, no others are served
	BindAddress bool       `yaml:"bind-address"`                       // blobs open only from where they were sealed
	Noise       bool       `yaml:"noise"`                              // random bytes instead of a refusal

	UUIDs []kms.UUID `yaml:"-"` // of Allow, by check
}

func (s *Talos) check() error {
	switch s.Enroll {
	case "", Approve, Closed, Tofu:
	default:
		return faultf("enroll", "%q must be approve, closed or tofu", s.Enroll)
	}

	for key, empty := range map[string]bool{"allow": s.Allow != nil && len(s.Allow) == 0, "sources": s.Sources != nil && len(s.Sources) == 0} {
		if empty {
			return faultf(key, "an empty list could mean nobody or everybody: leave the key out for everybody")
		}
	}
	s.UUIDs = nil
	for i, text := range s.Allow {
		u, err := kms.ParseUUID(text)
		if err != nil {
			return faultf("allow["+strconv.Itoa(i)+"]", "%q is no UUID of a machine", text)
		}
		s.UUIDs = append(s.UUIDs, u)
	}

	if s.Address == "" {
		if s.TLS != nil || len(s.Allow)+len(s.Sources)+len(s.Proxies) > 0 || s.BindAddress || s.Noise || s.ProxyProtocol {
			return faultf("address", "name one: without it no machine of Talos is served, and the rest of this section means nothing")
		}
		return nil
	}
	if s.TLS != nil && s.TLS.MinVersion == "1.2" {
		return faultf("tls.min-version", "1.2 is only for clients of Kairos")
	}

	if len(s.Proxies) > 0 && !s.ProxyProtocol {
		return faultf("trusted-proxies", "gRPC has no X-Forwarded-For: set proxy-protocol, too")
	}
	return s.Endpoint.check()
}
