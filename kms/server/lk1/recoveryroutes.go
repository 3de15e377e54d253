package lk1

import (
	"net/http"

	"latchkey/internal/strictjson"
	"latchkey/kms"
	"latchkey/kms/admin"
)

// recoveryRoutes show recovery keys, and hand them out.
func (s *Service) recoveryRoutes() []admin.Route {
	return []admin.Route{
		{
			Method: "GET", Path: "/v1/recoveries", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Lists how it stands with the recovery keys of all volumes, never the sealed keys.", Answer: []Recovery{},
			Do: func(r *http.Request) (any, error) { return admin.List(s.recoveriesFor(r.Context())) },
		},
		{
			Method: "GET", Path: "/v1/recovery", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Shows how it stands with the recovery key of one volume.", Query: []admin.Param{admin.UUIDParam}, Answer: Recovery{},
			Do: admin.WithUUID(func(r *http.Request, u kms.UUID) (any, error) { return s.RecoveryOf(r.Context(), u) }),
		},
		{
			Method: "POST", Path: "/v1/recovery/release", Scope: admin.ScopeAdmin, Reaching: admin.Within,
			Doc:   "Hands out a volume's sealed recovery key, once, to a person who says why. Only an identity that is elsewhere opens it.",
			Query: []admin.Param{admin.UUIDParam}, Body: Handing{}, Answer: Handed{},
			Do: func(r *http.Request) (any, error) {
				var h Handing
				if err := strictjson.Decode(r.Body, &h); err != nil {
					return nil, err
				}
				return admin.WithUUID(func(r *http.Request, u kms.UUID) (any, error) { return s.ReleaseRecovery(r.Context(), u, h) })(r)
			},
		},
	}
}
