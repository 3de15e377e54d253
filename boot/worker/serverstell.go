package worker

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"latchkey/boot/codes"
	"latchkey/discover"
	"latchkey/internal/order"
)

func (s *servers) begin(url string) *askedServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	server := &askedServer{url: url}
	s.asked = append(s.asked, server)
	order.By(s.asked, func(a, b *askedServer) int { return cmp.Compare(a.url, b.url) })
	return server
}

func (s *servers) end(server *askedServer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = slices.DeleteFunc(s.asked, func(one *askedServer) bool { return one == server })
}

// note keeps what an address answered, or with nil that it is asked: then
// what it answered before still holds.
func (s *servers) note(server *askedServer, from discover.Candidate, err error) {
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
func (s *servers) standing(server *askedServer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(server.last, errors.New(s.network.standing("address")))
}

// tell tells people why it takes time: of all servers in one line, and each
// line once while it stays the same.
func (s *servers) tell() {
	s.mu.Lock()
	servers := slices.Clone(s.asked)
	s.mu.Unlock()
	var lines []string
	var failed error
	for _, one := range servers {
		err := s.standing(one)
		if failed == nil || s.code(failed) == s.code(nil) { // silence tells least
			failed = err
		}
		if line := fmt.Sprintf("%s %s: %v", s.what, one.url, err); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}

	text := strings.Join(lines, "; ")
	s.mu.Lock()
	news := text != s.told
	s.told = text
	s.mu.Unlock()
	if news {
		s.worker.waiting(codes.Fail(s.code(failed), "%s", text))
	}
}
