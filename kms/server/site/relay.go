package site

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/ledger"
)

// Local answers machines at a site's server, by the copies.
type Local interface {
	http.Handler
	// Mine tells whether a message goes on with what was begun here.
	Mine(path string, body []byte) bool
}

// Handle has a mux pass machines' messages on to the center while it answers.
// What local began it ends, and what the center began nobody else can.
func (f *Follower) Handle(mux *http.ServeMux, local Local) {
	for _, path := range relayed {
		most := int64(kms.MaxMessage)
		if path == kms.EvidencePath {
			most = kms.MaxEvidence
		}
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
			if err != nil {
				http.Error(w, "", http.StatusRequestEntityTooLarge)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			if local.Mine(path, body) {
				local.ServeHTTP(w, r)
				return
			}
			defer front.Serving(r.Context())()
			f.relay(w, r, body, local)
		})
	}
}

func (f *Follower) relay(w http.ResponseWriter, r *http.Request, body []byte, local Local) {
	self, err := f.self()
	if err != nil {
		f.log.Error("answering", "path", r.URL.Path, "err", err)
		front.Busy(w)
		return
	}
	if self.Removed {
		front.Busy(w)
		return
	}
	if f.Wire() != "cut" {
		err = f.pass(r.Context(), w, r, self, body)
		if _, cut := errors.AsType[*cutOff](err); !cut {
			return
		}
		if r.Context().Err() != nil {
			return // it is the machine that went away
		}
		f.cutOff(err)
	}
	if hello, err := kms.ParseHello(body); r.URL.Path != kms.ChallengePath || err != nil || hello.Operation != kms.Get {
		front.Busy(w) // a machine may boot while the center does not answer, and nothing else
		return
	}
	local.ServeHTTP(w, r)
}

func (f *Follower) self() (self Self, err error) {
	err = f.ledger.Read(func(v ledger.View) error {
		self, _, err = SelfOf(v)
		return err
	})
	return self, err
}

// Wire is how it stands with the center: back, up or cut.
func (f *Follower) Wire() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wire.String()
}

// pass passes a message on, and its answer back. No answer is a cutOff, and
// nothing was written.
func (f *Follower) pass(ctx context.Context, w http.ResponseWriter, r *http.Request, self Self, body []byte) error {
	client, at, err := f.clientFor(self)
	if err != nil {
		front.Busy(w)
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, relayWait)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+at+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		front.Busy(w)
		return err
	}
	q.Header.Set(fromHeader, front.Remote(r))
	reply, err := client.Do(q)
	if err != nil {
		return &cutOff{err}
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(http.MaxBytesReader(nil, reply.Body, kms.MaxMessage))
	if err != nil {
		return &cutOff{err}
	}
	switch reply.StatusCode {
	case http.StatusOK, http.StatusNoContent, http.StatusForbidden, http.StatusRequestEntityTooLarge:
		w.Header().Set("Content-Type", "application/octet-stream")
		if reply.StatusCode == http.StatusOK {
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		}
		w.WriteHeader(reply.StatusCode)
		w.Write(text)
	default:
		front.Busy(w)
	}
	return nil
}
