package server

import (
	"fmt"
	"io"
	"net/http"
	"strconv"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// maxAdmin bounds an operator's request, in bytes.
const maxAdmin = 64 << 10

// nodeRoutes list, approve and stop nodes.
func (s *Server) nodeRoutes() []route {
	change := func(verb string, scope Scope, doc string, f func(*http.Request, string) (Node, error)) route {
		return route{
			method: "POST", path: "/v1/node/" + verb, scope: scope, doc: doc, query: []param{whoParam}, answer: Node{},
			do: func(r *http.Request) (any, error) { return f(r, r.URL.Query().Get("who")) },
		}
	}
	return []route{
		{
			method: "GET", path: "/v1/nodes", scope: ScopeRead, doc: "Lists nodes, those that wait for approval first.", answer: []Node{},
			do: func(*http.Request) (any, error) { return list(s.Nodes()) },
		},
		{
			method: "GET", path: "/v1/nodes/watch", scope: ScopeRead, doc: "Streams the nodes that wait for the operator: server-sent events of type node, whose data is a Node.",
			answer: Node{}, media: "text/event-stream", stream: s.watchNodes,
		},
		{
			method: "GET", path: "/v1/node", scope: ScopeRead, doc: "Shows one node.", query: []param{whoParam}, answer: Node{},
			do: func(r *http.Request) (any, error) { return s.Node(r.URL.Query().Get("who")) },
		},
		{
			method: "POST", path: "/v1/node/approve", scope: ScopeApprove, doc: "Approves a node, or renews its approval. With move, no_pcrs or volumes it needs scope admin.", body: Approval{}, answer: Approved{},
			do: func(r *http.Request) (any, error) {
				var a Approval
				if err := decodeJSON(r.Body, &a); err != nil {
					return nil, err
				}
				// These give a node what is another's, or what it did not show.
				if (a.Move || a.NoPCRs || len(a.Volumes) > 0) && !userOf(r.Context()).scope.allows(ScopeAdmin) {
					return nil, fmt.Errorf("approving with move, no_pcrs or volumes: %w: it needs scope %s", errScope, ScopeAdmin)
				}
				return s.ApproveNode(r.Context(), a)
			},
		},
		change("quarantine", ScopeApprove, "Stops a node.", func(r *http.Request, who string) (Node, error) {
			return s.SetQuarantine(r.Context(), who, true)
		}),
		change("readmit", ScopeApprove, "Ends a quarantine.", func(r *http.Request, who string) (Node, error) {
			return s.SetQuarantine(r.Context(), who, false)
		}),
		change("accept", ScopeApprove, "Takes the boot state that a node showed last for the approved one.", func(r *http.Request, who string) (Node, error) {
			return s.AcceptNode(r.Context(), who)
		}),
		change("delete", ScopeAdmin, "Refuses a node for good.", func(r *http.Request, who string) (Node, error) {
			return s.DeleteNode(r.Context(), who)
		}),
	}
}

// volumeRoutes list and keep the volumes' secrets.
func (s *Server) volumeRoutes() []route {
	change := func(verb, doc string, f func(*http.Request, kms.UUID) error) route {
		return route{
			method: "POST", path: "/v1/volume/" + verb, scope: ScopeAdmin, doc: doc, query: []param{uuidParam}, answer: struct{}{},
			do: withUUID(func(r *http.Request, u kms.UUID) (any, error) { return struct{}{}, f(r, u) }),
		}
	}
	return []route{
		{
			method: "GET", path: "/v1/volumes", scope: ScopeRead, doc: "Lists volumes, never their secrets.", answer: []Volume{},
			do: func(*http.Request) (any, error) { return list(s.Volumes()) },
		},
		{
			method: "GET", path: "/v1/volume", scope: ScopeRead, doc: "Shows the rows of one volume.", query: []param{uuidParam}, answer: []Volume{},
			do: withUUID(func(_ *http.Request, u kms.UUID) (any, error) { return list(s.VolumesOf(u)) }),
		},
		{
			method: "POST", path: "/v1/volume/put", scope: ScopeAdmin, doc: "Keeps a volume's passphrase, the body as it is; it never replaces one.",
			query: []param{uuidParam}, body: []byte{}, answer: []Volume{}, do: withUUID(s.adminPut),
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

// storeRoutes look after the database.
func (s *Server) storeRoutes() []route {
	return []route{
		{
			method: "GET", path: "/v1/audit", scope: ScopeRead, doc: "Shows the audit log, a page of 1,000 events at most.",
			query: []param{{name: "from", doc: "first sequence number", required: true, kind: "integer"}}, answer: []Event{}, do: s.adminAudit,
		},
		{
			method: "GET", path: "/v1/check", scope: ScopeRead, doc: "Verifies every record and the audit log.", answer: Checked{},
			do: func(*http.Request) (any, error) { return s.Check() },
		},
		{
			method: "GET", path: "/v1/backup", scope: ScopeAdmin, doc: "Writes one consistent state of the database, still sealed.",
			answer: []byte{}, media: "application/octet-stream", stream: s.adminBackup,
		},
	}
}

func (s *Server) adminBackup(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := s.store.Backup(w); err != nil {
		s.log.Error("writing a backup", "err", err)
		panic(http.ErrAbortHandler) // the reader must not take it for whole
	}
}

// list makes an empty list of nothing, for JSON.
func list[T any](v []T, err error) (any, error) {
	if v == nil {
		v = []T{}
	}
	return v, err
}

func withUUID(f func(*http.Request, kms.UUID) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		uuid, err := kms.ParseUUID(r.URL.Query().Get("uuid"))
		if err != nil {
			return nil, err
		}
		return f(r, uuid)
	}
}

// adminPut takes the passphrase as the request's body.
func (s *Server) adminPut(r *http.Request, uuid kms.UUID) (any, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	passphrase := secret.Own(body)
	defer passphrase.Wipe()
	if err := s.PutVolume(r.Context(), uuid, passphrase); err != nil {
		return nil, err
	}
	return list(s.VolumesOf(uuid))
}

// auditPage is how many events one request gets.
const auditPage = 1000

func (s *Server) adminAudit(r *http.Request) (any, error) {
	from, err := strconv.ParseUint(r.URL.Query().Get("from"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %q is no sequence number", r.URL.Query().Get("from"))
	}
	var events []Event
	err = s.read(func(v view) error {
		return v.events(from, func(e Event) bool {
			events = append(events, e)
			return len(events) < auditPage
		})
	})
	return list(events, err)
}
