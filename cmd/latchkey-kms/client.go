package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"

	"latchkey/internal/cli"
	"latchkey/kms/server"
)

// An admin asks the operator's interface: of the running server, by its
// socket, or else of one opened in this process.
type admin struct {
	do    func(*http.Request) (*http.Response, error)
	close func() error
	base  string // URL; "" is the socket's, or this process'
	token string // file of a bearer token, if there is one
}

func (a *admin) send(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	base := a.base
	if base == "" {
		base = "http://kms"
	}
	r, err := http.NewRequestWithContext(ctx, method, base+path+"?"+query.Encode(), body)
	if err != nil {
		return nil, err
	}

	if a.token != "" {
		token, err := os.ReadFile(a.token)
		if err != nil {
			return nil, fmt.Errorf("reading the token: %w", err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		clear(token)
	}

	reply, err := a.do(r)
	if err != nil {
		return nil, fmt.Errorf("asking the running server: %w", err)
	}
	return reply, nil
}

func (o *options) admin(ctx context.Context) (*admin, error) {
	if o.remote.server != "" {
		return o.remote.admin()
	}
	up, err := o.running(ctx)
	if err != nil {
		return nil, err
	}

	if up {
		client := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true, // one question each: a connection kept would be left behind
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", o.socket())
			},
		}}
		return &admin{do: client.Do, close: func() error { return nil }}, nil
	}

	s, err := o.open(server.Approve, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}

	handler := s.AdminHandler()
	return &admin{close: s.Close, do: func(r *http.Request) (reply *http.Response, err error) {
		defer func() {
			if p := recover(); p != nil { // http.ErrAbortHandler: the answer is not whole
				err = fmt.Errorf("reading the database: %v", p)
			}
		}()
		w := &recorder{status: http.StatusOK}
		handler.ServeHTTP(w, r)
		return &http.Response{StatusCode: w.status, Body: io.NopCloser(&w.body)}, nil
	}}, nil
}

// recorder keeps the answer of a handler called in this process.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(b []byte) (int, error) { return w.body.Write(b) }

// running tells whether a server answers the operator's socket.
func (o *options) running(ctx context.Context) (bool, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", o.socket())
	switch {
	case err == nil:
		return true, conn.Close()
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return false, nil
	}
	return false, fmt.Errorf("asking the running server: %w", err)
}

// call asks one thing and decodes the answer into to.
func (o *options) call(ctx context.Context, method, path string, query url.Values, body, to any) error {
	a, err := o.admin(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	reader, err := encodeBody(body)
	if err != nil {
		return err
	}

	reply, err := a.send(ctx, method, path, query, reader)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	return decodeReply(reply, to)
}

func encodeBody(body any) (io.Reader, error) {
	switch b := body.(type) {
	case nil:
		return http.NoBody, nil
	case []byte:
		return bytes.NewReader(b), nil
	}
	text, err := json.Marshal(body)
	return bytes.NewReader(text), err
}

func decodeReply(reply *http.Response, to any) error {
	if reply.StatusCode == http.StatusOK {
		if w, ok := to.(io.Writer); ok {
			_, err := io.Copy(w, reply.Body)
			return err
		}
		return json.NewDecoder(reply.Body).Decode(to)
	}

	var p server.Problem
	if err := json.NewDecoder(reply.Body).Decode(&p); err != nil || p.Error == "" {
		return fmt.Errorf("asking the running server: HTTP status %d", reply.StatusCode)
	}

	err := errors.New(p.Error)
	switch reply.StatusCode {
	case http.StatusConflict, http.StatusUnauthorized, http.StatusForbidden:
		return &cli.Exit{Code: cli.Refused, Err: err}
	}
	return err
}
