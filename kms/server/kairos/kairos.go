// Package kairos speaks to the nodes of Kairos: the websocket exchanges of
// kcrypt-challenger, in both generations. It proves which TPM asks and what
// it booted; who gets what is the Keeper's business.
//
// Their quotes carry no nonce. What is checked here narrows replay and
// cannot close it; lk1 does.
package kairos

import (
	"context"
	"log/slog"
	"net"
	"net/http"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// Paths of the exchanges: the new one, and the two legacy ones.
const (
	AttestationPath = "/tpm-attestation"
	GetPath         = "/getPass"
	PostPath        = "/postPass"
)

// A Request names a volume as the node sees it. Nothing in it is proven.
type Request struct{ Label, Name, UUID string }

// A Proof is what an exchange has shown, once all of it was checked.
type Proof struct {
	Hash    kms.NodeID // TPMHash: SHA-256 of the EK's SubjectPublicKeyInfo
	EK      []byte     // that SubjectPublicKeyInfo, DER
	AK      [32]byte   // SHA-256 of the attestation key's public area
	Request Request
	Quote   *Quote // nil: the legacy exchange shows no boot state
	Defer   bool   // a live system: its boot state is not the installed one's
	From    string
}

// An Answer is what a node is given.
type Answer struct {
	Passphrase secret.Bytes // text, or, if Sealed, what the node's own TPM encrypted
	Sealed     bool         // "generated_by": "tpm"
}

// A Keeper decides who gets which passphrase, and keeps them.
type Keeper interface {
	// Work runs public-key work once there is room for it.
	Work(ctx context.Context, f func() error) error
	// Release answers a proof that holds, after it was recorded. Its error
	// is a *Refusal, or a failure of the keeper's own.
	Release(ctx context.Context, p *Proof) (*Answer, error)
	// Deposit keeps what a legacy node's TPM encrypted to itself. Errors
	// are as those of Release.
	Deposit(ctx context.Context, p *Proof, sealed []byte) error
}

// handler answers nodes.
type handler struct {
	keeper Keeper
	log    *slog.Logger
}

// Handler answers nodes on the three paths.
func Handler(k Keeper, log *slog.Logger) http.Handler {
	h := &handler{k, log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+AttestationPath, h.serve(h.attest))
	mux.HandleFunc("GET "+GetPath, h.serve(h.getPass))
	mux.HandleFunc("GET "+PostPath, h.serve(h.postPass))
	return mux
}

// An exchange runs on one connection and ends with it.
type exchange func(ctx context.Context, s *socket, r *http.Request, want Request) error

// serve refuses what is wrong in a request's head, then runs the exchange.
func (h *handler) serve(run exchange) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		want, err := readRequest(r.Header)
		if err != nil {
			h.log.Warn("refused", "path", r.URL.Path, "from", remote(r), "why", err)
			http.Error(w, "", http.StatusBadRequest)
			return
		}
		s, err := upgrade(w, r)
		if err != nil {
			return // it was answered
		}
		defer s.Close()
		if err := run(r.Context(), s, r, want); err != nil {
			h.log.Warn("refused", "path", r.URL.Path, "from", remote(r), "why", err)
		}
	}
}

func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
