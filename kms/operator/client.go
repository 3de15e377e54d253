// Package operator asks a key server what its operator wants to know or have
// done: the server that runs on this host, by its socket; one on another
// host, over HTTPS; or, where none runs, the database itself.
package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"latchkey/kms/admin"

	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/kms/home"
	"latchkey/kms/server"
	"latchkey/kms/store/bolt"
)

// A Client asks one key server. Close it.
type Client struct {
	// Live tells whether a server answers, and not this process.
	Live bool

	do    func(*http.Request) (*http.Response, error)
	close func() error
	base  string // URL
	token string // file of a bearer token, if there is one
}

// Local asks the server that runs on a data directory, or opens the KMS in
// this process if none runs.
func Local(ctx context.Context, h home.Home) (*Client, error) {
	up, err := h.Running(ctx)
	if err != nil {
		return nil, err
	}
	if up {
		return overSocket(h.Socket()), nil
	}

	s, err := h.Open(ctx, server.Config{})
	if errors.Is(err, bolt.ErrInUse) {
		if up, _ := h.Running(ctx); up { // it came up while we looked
			return overSocket(h.Socket()), nil
		}
		return nil, fmt.Errorf("%w: a key server that starts and does not answer yet, or another command: say this again in a moment; the server's log says what it waits for", err)
	}
	if err != nil {
		return nil, err
	}
	return inProcess(s), nil
}

// overSocket keeps no connection: one question each.
func overSocket(path string) *Client {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	return &Client{Live: true, do: client.Do, close: func() error { return nil }, base: "http://kms"}
}

func inProcess(s *server.Server) *Client {
	handler := s.AdminHandler()
	return &Client{base: "http://kms", close: s.Close, do: func(r *http.Request) (*http.Response, error) { return admin.Ask(handler, r) }}
}

// Close closes what was opened to ask.
func (c *Client) Close() error { return c.close() }

// Call asks one thing. body is sent as it is if it is bytes, else as JSON;
// to takes the answer: an io.Writer as it is, anything else from JSON. An
// answer that refuses is an error with exit code cli.Refused, one that says that an
// argument is wrong has cli.Usage.
func (c *Client) Call(ctx context.Context, method, path string, query url.Values, body, to any) error {
	reader, err := encodeBody(body)
	if err != nil {
		return err
	}
	reply, err := c.send(ctx, method, path, query, reader)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	return decodeReply(reply, to)
}

func (c *Client) send(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path+"?"+query.Encode(), body)
	if err != nil {
		return nil, err
	}

	if c.token != "" {
		token, err := datafile.Read(c.token, 4<<10)
		if err != nil {
			return nil, fmt.Errorf("reading the token: %w", err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		clear(token)
	}

	reply, err := c.do(r)
	if err != nil {
		return nil, fmt.Errorf("asking the running server: %w", err)
	}
	return reply, nil
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
	err := admin.Decode(reply, to)
	e, _ := errors.AsType[*admin.StatusError](err)
	switch {
	case admin.Refused(err):
		return &cli.Exit{Code: cli.Refused, Err: err}
	case e != nil && (e.Status == http.StatusBadRequest || e.Status == http.StatusRequestEntityTooLarge):
		return &cli.Exit{Code: cli.Usage, Err: err} // an argument that only the server can judge
	}
	return err
}
