package lk1

import (
	"fmt"
	"io"
	"net/http"
	"slices"

	"latchkey/internal/secret"
	"latchkey/internal/strictjson"
	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
)

// Routes are what the operator asks of nodes and volumes.
func (s *Service) Routes() []admin.Route {
	return slices.Concat(s.nodeRoutes(), s.volumeRoutes(), s.policyRoutes(), s.releaseRoutes(), s.recoveryRoutes())
}

// nodeRoutes list, approve and stop nodes.
func (s *Service) nodeRoutes() []admin.Route {
	change := func(verb string, scope admin.Scope, doc string, f func(*http.Request, string) (Node, error)) admin.Route {
		return admin.Route{
			Method: "POST", Path: "/v1/node/" + verb, Scope: scope, Reaching: admin.Within, Doc: doc, Query: query(verb, admin.WhoParam), Answer: Node{},
			Do: func(r *http.Request) (any, error) { return f(r, r.URL.Query().Get("who")) },
		}
	}
	return []admin.Route{
		{
			Method: "GET", Path: "/v1/nodes", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Lists nodes, those that wait for approval first.", Answer: []Node{},
			Do: s.adminNodes,
		},
		{
			Method: "GET", Path: "/v1/nodes/page", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Lists a page of nodes, those that wait for approval first.", Answer: NodePage{},
			Query: admin.PageParams, Do: s.adminPage,
		},
		{
			Method: "GET", Path: "/v1/nodes/watch", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Streams the nodes that wait for the operator: server-sent events of type node, whose data is a Node.",
			Answer: Node{}, Media: "text/event-stream", Stream: s.watchNodes,
		},
		{
			Method: "GET", Path: "/v1/node", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Shows one node.", Query: []admin.Param{admin.WhoParam}, Answer: Node{},
			Do: func(r *http.Request) (any, error) { return s.nodeFor(r.Context(), r.URL.Query().Get("who")) },
		},
		{
			Method: "POST", Path: "/v1/node/approve", Scope: admin.ScopeApprove, Reaching: admin.Within, Doc: "Approves a node, or renews its approval. With move, no_pcrs or volumes it needs scope admin.", Body: Approval{}, Answer: Approved{},
			Do: func(r *http.Request) (any, error) {
				var a Approval
				if err := strictjson.Decode(r.Body, &a); err != nil {
					return nil, err
				}
				// These give a node what is another's, or what it did not show.
				if (a.Move || a.NoPCRs || len(a.Volumes) > 0) && !admin.May(r.Context(), admin.ScopeAdmin) {
					return nil, fmt.Errorf("approving with move, no_pcrs or volumes: %w: it needs scope %s", admin.ErrScope, admin.ScopeAdmin)
				}
				return s.ApproveNode(r.Context(), a)
			},
		},
		change("quarantine", admin.ScopeApprove, "Stops a node.", func(r *http.Request, who string) (Node, error) {
			return s.SetQuarantine(r.Context(), who, true)
		}),
		change("readmit", admin.ScopeApprove, "Ends a quarantine.", func(r *http.Request, who string) (Node, error) {
			return s.SetQuarantine(r.Context(), who, false)
		}),
		change("accept", admin.ScopeApprove, "Takes the boot state that a node showed last for the approved one.", func(r *http.Request, who string) (Node, error) {
			unmeasured, err := admin.Said(r, "unmeasured")
			if err != nil {
				return Node{}, err
			}
			return s.AcceptNode(r.Context(), who, Acceptance{r.URL.Query().Get("shown"), unmeasured})
		}),
		change("renew", admin.ScopeApprove, "Renews the approval of a node that lapsed by silence. It binds and pins nothing.", func(r *http.Request, who string) (Node, error) {
			return s.RenewNode(r.Context(), who)
		}),
		{
			Method: "POST", Path: "/v1/nodes/renew", Scope: admin.ScopeAdmin, Reaching: admin.Within, Doc: "Renews all approvals that lapsed by silence: after a clock was wrong; or those of nodes that vanished and are back in their networks.", Answer: []Node{},
			Query: []admin.Param{{Name: "back", Doc: "whether those are renewed that vanished and are back", Kind: "boolean"}},
			Do: func(r *http.Request) (any, error) {
				if r.URL.Query().Get("back") == "true" {
					return admin.List(s.RenewBack(r.Context()))
				}
				return admin.List(s.RenewLapsed(r.Context()))
			},
		},
		change("delete", admin.ScopeAdmin, "Refuses a node until it is undeleted.", func(r *http.Request, who string) (Node, error) {
			return s.DeleteNode(r.Context(), who)
		}),
		s.pushRoute(),
		change(undelete, admin.ScopeAdmin, "Lets a node that was deleted ask for approval again.", func(r *http.Request, who string) (Node, error) {
			return s.UndeleteNode(r.Context(), who)
		}),
	}
}

// query is a command's: those that take what a node showed may say what the
// operator looked at.
func query(verb string, of admin.Param) []admin.Param {
	switch verb {
	case "accept", "accept-header":
	case "rotate":
		return []admin.Param{of, {Name: "forget", Doc: "keep none of the secrets that rotations replaced, nor the one that this one replaces", Kind: "boolean"}}
	case "delete":
		if of.Name == admin.UUIDParam.Name {
			return []admin.Param{of, admin.NowParam}
		}
		return []admin.Param{of}
	default:
		return []admin.Param{of}
	}
	params := []admin.Param{of, {Name: "shown", Doc: "shown_digest of the node as the operator looked at it: another is refused"}}
	if verb == "accept" {
		params = append(params, admin.Param{Name: "unmeasured", Doc: "take a boot whose initrd nothing measures", Kind: "boolean"})
	}
	return params
}

// adminNodes lists all nodes. Who may only look gets no more than a page: a
// whole large fleet is seconds of work.
func (s *Service) adminNodes(r *http.Request) (any, error) {
	if admin.May(r.Context(), admin.ScopeAdmin) {
		return admin.List(s.nodesFor(r.Context()))
	}
	p, err := s.NodesPage(r.Context(), "", admin.MaxPage)
	if err == nil && p.Next != "" {
		err = fmt.Errorf("listing nodes: %w: there are more than %d; ask for /v1/nodes/page", ledger.ErrRefused, admin.MaxPage)
	}
	return p.Nodes, err
}

func (s *Service) adminPage(r *http.Request) (any, error) {
	after, limit, err := admin.Paging(r)
	if err != nil {
		return nil, err
	}
	return s.NodesPage(r.Context(), after, limit)
}

// volumeRoutes list and keep the volumes' secrets.
func (s *Service) volumeRoutes() []admin.Route {
	change := func(verb, doc string, f func(*http.Request, kms.UUID) error) admin.Route {
		return admin.Route{
			Method: "POST", Path: "/v1/volume/" + verb, Scope: admin.ScopeAdmin, Reaching: admin.Within, Doc: doc, Query: query(verb, admin.UUIDParam), Answer: struct{}{},
			Do: admin.WithUUID(func(r *http.Request, u kms.UUID) (any, error) { return struct{}{}, f(r, u) }),
		}
	}
	return []admin.Route{
		{
			Method: "GET", Path: "/v1/volumes", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Lists volumes, never their secrets.", Answer: []Volume{},
			Do: func(r *http.Request) (any, error) { return admin.List(s.volumesFor(r.Context())) },
		},
		{
			Method: "GET", Path: "/v1/volumes/page", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Lists a page of volumes.", Answer: VolumePage{}, Query: admin.PageParams,
			Do: func(r *http.Request) (any, error) {
				after, limit, err := admin.Paging(r)
				if err != nil {
					return nil, err
				}
				return s.VolumesPage(r.Context(), after, limit)
			},
		},
		{
			Method: "GET", Path: "/v1/volume", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Shows the rows of one volume.", Query: []admin.Param{admin.UUIDParam}, Answer: []Volume{},
			Do: admin.WithUUID(func(r *http.Request, u kms.UUID) (any, error) { return admin.List(s.volumesOfFor(r.Context(), u)) }),
		},
		{
			Method: "POST", Path: "/v1/volume/put", Scope: admin.ScopeAdmin, Reaching: admin.Within, Doc: "Keeps a volume's passphrase, the body as it is; it never replaces one.",
			Query: []admin.Param{admin.UUIDParam}, Body: []byte{}, Answer: []Volume{}, Do: admin.WithUUID(s.adminPut),
		},
		change("delete", "Takes a volume from its machine, and destroys all that the KMS has of it once the grace has ended.", func(r *http.Request, u kms.UUID) error {
			now, err := admin.Now(r)
			if err != nil {
				return err
			}
			return s.DeleteVolume(r.Context(), u, now)
		}),
		{
			Method: "POST", Path: "/v1/volume/" + undelete, Scope: admin.ScopeAdmin, Reaching: admin.Within, Doc: "Gives a deleted volume back to its machine.",
			Query: []admin.Param{admin.UUIDParam}, Answer: Undeleted{},
			Do: admin.WithUUID(func(r *http.Request, u kms.UUID) (any, error) {
				needs, err := s.UndeleteVolume(r.Context(), u)
				return Undeleted{needs}, err
			}),
		},
		change("accept-header", "Takes the LUKS header that the node showed last for the enrolled one.", func(r *http.Request, u kms.UUID) error {
			return s.AcceptHeader(r.Context(), u, r.URL.Query().Get("shown"))
		}),
		change("rotate", "Makes the next passphrase of a volume; its node takes it over when it boots.", func(r *http.Request, u kms.UUID) error {
			forget, err := admin.Said(r, "forget")
			if err != nil {
				return err
			}
			return s.RotateVolume(r.Context(), u, forget)
		}),
		change("rotate-abort", "Drops the next passphrase of a volume, unless its node reported it.", func(r *http.Request, u kms.UUID) error {
			return s.AbortRotation(r.Context(), u)
		}),
	}
}

// adminPut takes the passphrase as the request's body.
func (s *Service) adminPut(r *http.Request, uuid kms.UUID) (any, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	passphrase := secret.Own(body)
	defer passphrase.Wipe()
	if err := s.PutVolume(r.Context(), uuid, passphrase); err != nil {
		return nil, err
	}
	return admin.List(s.volumesOfFor(r.Context(), uuid))
}
