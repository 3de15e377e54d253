package worker

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"latchkey/boot/codes"
	"latchkey/discover"
	"latchkey/unlock/source/clevis"
)

func (s *tangServers) begin(url string) *tangServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	server := &tangServer{url: url}
	s.asked = append(s.asked, server)
	slices.SortStableFunc(s.asked, func(a, b *tangServer) int { return cmp.Compare(a.url, b.url) })
	return server
}

func (s *tangServers) end(server *tangServer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = slices.DeleteFunc(s.asked, func(one *tangServer) bool { return one == server })
}

// note keeps what an address answered, or with nil that it is asked: then
// what it answered before still holds.
func (s *tangServers) note(server *tangServer, from discover.Candidate, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		server.last = fmt.Errorf("%s: %w", from.Addr, err)
	case server.last == nil:
		server.last = fmt.Errorf("%s: no answer yet", from.Addr)
	}
}

// standing is where the search for a server stands.
func (s *tangServers) standing(server *tangServer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(server.last, errors.New(s.network.standing("address")))
}

// tell tells people why it takes time: of all servers in one line, and each
// line once while it stays the same.
func (s *tangServers) tell() {
	s.mu.Lock()
	servers := slices.Clone(s.asked)
	s.mu.Unlock()
	var lines []string
	code := clevis.CodeSilent
	for _, one := range servers {
		err := s.standing(one)
		if errors.Is(err, clevis.ErrNoKey) {
			code = clevis.CodeNoKey
		}
		if line := fmt.Sprintf("tang server %s: %v", one.url, err); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}

	text := strings.Join(lines, "; ")
	s.mu.Lock()
	news := text != s.told
	s.told = text
	s.mu.Unlock()
	if news {
		s.worker.waiting(codes.Fail(code, "%s", text))
	}
}
