package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/kairos"
)

// maxAdmin bounds an operator's request, in bytes.
const maxAdmin = 64 << 10

// AdminHandler answers the operator. Whoever reaches it is the operator: it
// is served on a Unix socket that only the KMS' user can open, or called in
// the process that has the database open.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			limit := int64(maxAdmin)
			if r.URL.Path == documentsPath {
				limit = kairos.MaxDocuments
			}
			r.Body = http.MaxBytesReader(w, r.Body, limit)
			v, err := f(r)
			writeResult(w, v, err)
		})
	}
	handle("GET /v1/trust", func(*http.Request) (any, error) { return s.trust(), nil })
	handle("GET /v1/nodes", func(*http.Request) (any, error) { return list(s.Nodes()) })
	handle("GET /v1/node", func(r *http.Request) (any, error) { return s.Node(r.URL.Query().Get("who")) })
	handle("POST /v1/node/approve", func(r *http.Request) (any, error) {
		var a Approval
		if err := decodeJSON(r.Body, &a); err != nil {
			return nil, err
		}
		return s.ApproveNode(r.Context(), a)
	})
	handle("POST /v1/node/quarantine", func(r *http.Request) (any, error) {
		return s.SetQuarantine(r.Context(), r.URL.Query().Get("who"), true)
	})
	handle("POST /v1/node/readmit", func(r *http.Request) (any, error) {
		return s.SetQuarantine(r.Context(), r.URL.Query().Get("who"), false)
	})
	handle("POST /v1/node/accept", func(r *http.Request) (any, error) { return s.AcceptNode(r.Context(), r.URL.Query().Get("who")) })
	handle("POST /v1/node/delete", func(r *http.Request) (any, error) { return s.DeleteNode(r.Context(), r.URL.Query().Get("who")) })
	handle("GET /v1/volumes", func(*http.Request) (any, error) { return list(s.Volumes()) })
	handle("GET /v1/volume", withUUID(func(_ *http.Request, u kms.UUID) (any, error) { return list(s.VolumesOf(u)) }))
	handle("POST /v1/volume/put", withUUID(s.adminPut))
	handle("POST /v1/volume/delete", withUUID(func(r *http.Request, u kms.UUID) (any, error) {
		return struct{}{}, s.DeleteVolume(r.Context(), u)
	}))
	handle("POST /v1/volume/accept-header", withUUID(func(r *http.Request, u kms.UUID) (any, error) {
		return struct{}{}, s.AcceptHeader(r.Context(), u)
	}))
	s.handleKairosAdmin(handle)
	s.handleTalosAdmin(handle)
	s.handleKeyAdmin(handle)
	handle("GET /v1/audit", s.adminAudit)
	handle("GET /v1/check", func(*http.Request) (any, error) { return s.Check() })
	mux.HandleFunc("GET /v1/backup", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.store.Backup(w); err != nil {
			s.log.Error("writing a backup", "err", err)
			panic(http.ErrAbortHandler) // the reader must not take it for whole
		}
	})
	return mux
}

// Trust is what goes into a node's plan.
type Trust struct {
	KMS []string `json:"kms"`
}

func (s *Server) trust() Trust {
	var t Trust
	for _, pin := range s.Pins() {
		t.KMS = append(t.KMS, pin.String())
	}
	return t
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

// Problem is how an error travels to the command.
type Problem struct {
	Error string `json:"error"`
}

func writeResult(w http.ResponseWriter, v any, err error) {
	status := http.StatusOK
	if err != nil {
		v, status = Problem{err.Error()}, statusOf(err)
	}
	body, encoding := json.Marshal(v)
	if encoding != nil {
		http.Error(w, `{"error":"encoding the answer"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrRefused), errors.Is(err, ErrAmbiguous):
		return http.StatusConflict
	case errors.Is(err, ErrUnverified), errors.Is(err, ErrRolledBack):
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}
