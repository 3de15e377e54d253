package lk1

import (
	"net/http"

	"latchkey/internal/strictjson"
	"latchkey/kms/admin"
	"latchkey/kms/server/release"
)

// Parameters of the routes of releases.
var (
	nameParam  = admin.Param{Name: "name", Doc: "name of the release"}
	groupParam = admin.Param{Name: "group", Doc: "label of the group, as in site=berlin"}
)

// releaseRoutes keep releases, and move groups of machines to them.
func (s *Service) releaseRoutes() []admin.Route {
	name := func(r *http.Request) string { return r.URL.Query().Get("name") }
	group := func(r *http.Request) string { return r.URL.Query().Get("group") }
	return []admin.Route{
		{
			Method: "GET", Path: "/v1/releases", Scope: admin.ScopeRead, Reaching: admin.OnlyWhole, Doc: "Lists the releases that were added, with their rolls.", Answer: []ReleaseView{},
			Do: func(*http.Request) (any, error) { return admin.List(s.Releases()) },
		},
		{
			Method: "GET", Path: "/v1/release", Scope: admin.ScopeRead, Reaching: admin.OnlyWhole, Doc: "Shows one release.", Query: []admin.Param{nameParam}, Answer: ReleaseView{},
			Do: func(r *http.Request) (any, error) { return s.Release(name(r)) },
		},
		{
			Method: "POST", Path: "/v1/release/add", Scope: admin.ScopeAdmin, Reaching: admin.OnlyWhole, Doc: "Adds a release: golden values, or signatures of PCR 11 with the key that made them.",
			Body: release.New{}, Answer: ReleaseView{},
			Do: func(r *http.Request) (any, error) {
				var n release.New
				if err := strictjson.Decode(r.Body, &n); err != nil {
					return nil, err
				}
				return s.AddRelease(r.Context(), n)
			},
		},
		{
			Method: "POST", Path: "/v1/release/retire", Scope: admin.ScopeAdmin, Reaching: admin.OnlyWhole, Doc: "Takes a release back: machines that boot it get nothing.",
			Query: []admin.Param{nameParam}, Answer: ReleaseView{},
			Do: func(r *http.Request) (any, error) { return s.RetireRelease(r.Context(), name(r)) },
		},
		{
			Method: "POST", Path: "/v1/release/remove", Scope: admin.ScopeAdmin, Reaching: admin.OnlyWhole, Doc: "Forgets a release that is retired.",
			Query: []admin.Param{nameParam}, Answer: struct{}{},
			Do: func(r *http.Request) (any, error) { return struct{}{}, s.RemoveRelease(r.Context(), name(r)) },
		},
		{
			Method: "POST", Path: "/v1/release/roll", Scope: admin.ScopeAdmin, Reaching: admin.OnlyWhole, Doc: "Lets the machines of a group boot a release, in waves.",
			Query: []admin.Param{nameParam}, Body: release.Options{}, Answer: ReleaseView{},
			Do: func(r *http.Request) (any, error) {
				var o release.Options
				if err := strictjson.Decode(r.Body, &o); err != nil {
					return nil, err
				}
				return s.RollRelease(r.Context(), name(r), o)
			},
		},
		{
			Method: "POST", Path: "/v1/release/stop", Scope: admin.ScopeApprove, Reaching: admin.OnlyWhole, Doc: "Stops a roll: machines that have not booted the release may not.",
			Query: []admin.Param{nameParam, groupParam}, Answer: ReleaseView{},
			Do: func(r *http.Request) (any, error) { return s.StopRoll(r.Context(), name(r), group(r)) },
		},
		{
			Method: "POST", Path: "/v1/release/resume", Scope: admin.ScopeAdmin, Reaching: admin.OnlyWhole, Doc: "Goes on with a roll that was stopped.",
			Query: []admin.Param{nameParam, groupParam}, Answer: ReleaseView{},
			Do: func(r *http.Request) (any, error) { return s.ResumeRoll(r.Context(), name(r), group(r)) },
		},
	}
}
