package server

// gaugeSites tells when the servers of sites were heard, and, at one, how it
// stands with the center.
func (s *Server) gaugeSites() {
	s.measured.Gauge("latchkey_site_heard_timestamp_seconds", "When the server of a site was heard, in seconds since 1970.", func(set func(float64, ...string)) {
		sites, err := s.Sites.List("")
		if err != nil {
			return
		}
		for _, one := range sites {
			if one.State == "joined" && !one.Heard.IsZero() {
				set(float64(one.Heard.Unix()), one.Name)
			}
		}
	}, "site")
	s.measured.Gauge("latchkey_site_cut", "At the server of a site: 1 if the center does not answer, so that it decides itself.", func(set func(float64, ...string)) {
		if s.Follower != nil {
			set(truth(s.Follower.Wire() == "cut"))
		}
	})
}
