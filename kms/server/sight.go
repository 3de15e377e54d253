package server

import (
	"context"

	"latchkey/kms/admin"
	"latchkey/kms/ledger"
)

// sees tells which machines, of any protocol, who administers sees, by what
// the audit log calls them.
func (s *Server) sees(ctx context.Context, v ledger.View) func(node string) (bool, error) {
	if err := s.Service.Follow(v); err != nil {
		return func(string) (bool, error) { return false, err }
	}
	all := []func(string) (bool, error){s.Service.Sees(ctx, v), s.Kairos.Sees(ctx, v), s.Talos.Sees(ctx, v)}
	return func(node string) (bool, error) {
		for _, sees := range all {
			if yes, err := sees(node); yes || err != nil {
				return yes, err
			}
		}
		return false, nil
	}
}

// InReach tells whether a machine, by what the audit log calls it, is in a
// reach now.
func (s *Server) InReach(r admin.Reach, node string) (yes bool) {
	err := s.Read(func(v ledger.View) (err error) {
		yes, err = s.sees(admin.Reaches(context.Background(), r), v)(node)
		return err
	})
	return yes && err == nil
}
