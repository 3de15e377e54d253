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
)

// maxAdmin bounds an operator's request, in bytes.
const maxAdmin = 64 << 10

// Routes are what the operator asks of nodes and volumes.
func (s *Service) Routes() []admin.Route {
	return slices.Concat(s.nodeRoutes(), s.volumeRoutes(), s.policyRoutes())
}

// nodeRoutes list, approve and stop nodes.
func (s *Service) nodeRoutes() []admin.Route {
	change := func(verb string, scope admin.Scope, doc string, f func(*http.Request, string) (Node, error)) admin.Route {
		return admin.Route{
			Method: "POST", Path: "/v1/node/" + verb, Scope: scope, Doc: doc, Query: []admin.Param{admin.WhoParam}, Answer: Node{},
			Do: func(r *http.Request) (any, error) { return f(r, r.URL.Query().Get("who")) },
		}
	}
	return []admin.Route{
		{
			Method: "GET", Path: "/v1/nodes", Scope: admin.ScopeRead, Doc: "Lists nodes, those that wait for approval first.", Answer: []Node{},
			Do: func(*http.Request) (any, error) { return admin.List(s.Nodes()) },
		},
		{
			Method: "GET", Path: "/v1/nodes/watch", Scope: admin.ScopeRead, Doc: "Streams the nodes that wait for the operator: server-sent events of type node, whose data is a Node.",
			Answer: Node{}, Media: "text/event-stream", Stream: s.watchNodes,
		},
		{
			Method: "GET", Path: "/v1/node", Scope: admin.ScopeRead, Doc: "Shows one node.", Query: []admin.Param{admin.WhoParam}, Answer: Node{},
			Do: func(r *http.Request) (any, error) { return s.Node(r.URL.Query().Get("who")) },
		},
		{
			Method: "POST", Path: "/v1/node/approve", Scope: admin.ScopeApprove, Doc: "Approves a node, or renews its approval. With move, no_pcrs or volumes it needs scope admin.", Body: Approval{}, Answer: Approved{},
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
			return s.AcceptNode(r.Context(), who)
		}),
		change("delete", admin.ScopeAdmin, "Refuses a node for good.", func(r *http.Request, who string) (Node, error) {
			return s.DeleteNode(r.Context(), who)
		}),
	}
}

// volumeRoutes list and keep the volumes' secrets.
func (s *Service) volumeRoutes() []admin.Route {
	change := func(verb, doc string, f func(*http.Request, kms.UUID) error) admin.Route {
		return admin.Route{
			Method: "POST", Path: "/v1/volume/" + verb, Scope: admin.ScopeAdmin, Doc: doc, Query: []admin.Param{admin.UUIDParam}, Answer: struct{}{},
			Do: admin.WithUUID(func(r *http.Request, u kms.UUID) (any, error) { return struct{}{}, f(r, u) }),
		}
	}
	return []admin.Route{
		{
			Method: "GET", Path: "/v1/volumes", Scope: admin.ScopeRead, Doc: "Lists volumes, never their secrets.", Answer: []Volume{},
			Do: func(*http.Request) (any, error) { return admin.List(s.Volumes()) },
		},
		{
			Method: "GET", Path: "/v1/volume", Scope: admin.ScopeRead, Doc: "Shows the rows of one volume.", Query: []admin.Param{admin.UUIDParam}, Answer: []Volume{},
			Do: admin.WithUUID(func(_ *http.Request, u kms.UUID) (any, error) { return admin.List(s.VolumesOf(u)) }),
		},
		{
			Method: "POST", Path: "/v1/volume/put", Scope: admin.ScopeAdmin, Doc: "Keeps a volume's passphrase, the body as it is; it never replaces one.",
			Query: []admin.Param{admin.UUIDParam}, Body: []byte{}, Answer: []Volume{}, Do: admin.WithUUID(s.adminPut),
		},
		change("delete", "Destroys all that the KMS has of a volume.", func(r *http.Request, u kms.UUID) error {
			return s.DeleteVolume(r.Context(), u)
		}),
		change("accept-header", "Takes the LUKS header that the node showed last for the enrolled one.", func(r *http.Request, u kms.UUID) error {
			return s.AcceptHeader(r.Context(), u)
		}),
		change("rotate", "Makes the next passphrase of a volume; its node takes it over when it boots.", func(r *http.Request, u kms.UUID) error {
			return s.RotateVolume(r.Context(), u)
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
	return admin.List(s.VolumesOf(uuid))
}
