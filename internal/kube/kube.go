// Package kube asks a Kubernetes API server by plain REST.
package kube

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"latchkey/internal/certfile"
)

// AccountDir is where a pod finds its service account.
const AccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// Caps in bytes: of one answer, which may be a page of a list, and of one
// event of a watch, which is one object.
const (
	maxAnswer = 128 << 20
	maxEvent  = 4 << 20
)

// label is RFC 1123's, as Kubernetes wants it of most names.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// IsLabel tells whether a name is one that Kubernetes takes.
func IsLabel(name string) bool { return label.MatchString(name) }

// DefaultStore is the name of a KMS' store in a namespace if it is given none.
const DefaultStore = "latchkey"

// IsStoreName tells whether a KMS' store may have a name: it begins the names
// of all its objects, and shards append to it.
func IsStoreName(name string) bool { return IsLabel(name) && len(name) <= 30 }

// A Config says which API server. What is empty is found as a pod does.
type Config struct {
	Server    string // URL
	CA        string // file of PEM certificates
	Token     string // file; read again for each request, since it is renewed
	Cert, Key string // files, PEM: a client certificate instead of a token
	Account   string // instead of AccountDir
}

// A Client asks one API server.
type Client struct {
	base, token string
	http        *http.Client
}

// New reads the certificates.
func New(c Config) (*Client, error) {
	if c.Account == "" {
		c.Account = AccountDir
	}
	if c.Server == "" {
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return nil, errors.New("finding the Kubernetes API server: this is no pod: KUBERNETES_SERVICE_HOST is not set")
		}
		c.Server = "https://" + net.JoinHostPort(host, port)
	}

	if c.CA == "" {
		c.CA = filepath.Join(c.Account, "ca.crt")
	}
	if c.Token == "" && c.Cert == "" {
		c.Token = filepath.Join(c.Account, "token")
	}

	over, err := certfile.Client(tls.VersionTLS12, c.CA, c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("connecting to the Kubernetes API server: %w", err)
	}

	return &Client{strings.TrimRight(c.Server, "/"), c.Token, &http.Client{Transport: &http.Transport{
		TLSClientConfig: over, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
		ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
	}}}, nil
}

// Close lets idle connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// String is the API server's URL.
func (c *Client) String() string { return c.base }

// A Status is an answer that is not the wanted one (meta/v1, Status).
type Status struct {
	Code    int    `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func (s *Status) Error() string {
	if s.Message == "" {
		return fmt.Sprintf("the API server answers HTTP %d", s.Code)
	}
	return fmt.Sprintf("the API server says: %.300s", s.Message)
}

// CodeOf is the HTTP status of an answer; 0 if there was none.
func CodeOf(err error) int {
	if s, ok := errors.AsType[*Status](err); ok {
		return s.Code
	}
	return 0
}

// Do asks one thing. body and into may be nil.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, body, into any) error {
	response, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("reading the API server's answer: %w", err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = bytes.NewReader(b)
	}

	request, err := http.NewRequestWithContext(ctx, method, c.base+path+"?"+query.Encode(), text)
	if err != nil {
		return nil, err
	}

	request.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		token, err := os.ReadFile(c.token)
		if err != nil {
			return nil, fmt.Errorf("reading the service account's token: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}

	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}

	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	s := &Status{}
	json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(s) // what is no Status has no message
	s.Code = response.StatusCode
	return nil, s
}

// watchTime is how long one watch lasts: so a dead connection is noticed.
const watchTime = 5 * time.Minute

// errEnded is a watch that ended as it should.
var errEnded = errors.New("the API server ended the watch")

// Watch calls f for each event of a list, until it breaks: with an error,
// also when the server ended it after five minutes. An event of type ERROR
// is a *Status.
func (c *Client) Watch(ctx context.Context, path string, query url.Values, f func(kind string, object json.RawMessage) error) error {
	ctx, cancel := context.WithTimeout(ctx, watchTime+time.Minute)
	defer cancel()
	query.Set("watch", "1")
	query.Set("timeoutSeconds", fmt.Sprint(int(watchTime.Seconds())))
	response, err := c.send(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxEvent)

	for lines.Scan() {
		var e struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("reading an event: %w", err)
		}

		if e.Type == "ERROR" {
			s := &Status{}
			json.Unmarshal(e.Object, s)
			return s
		}

		if err := f(e.Type, e.Object); err != nil {
			return err
		}
	}

	if err := lines.Err(); err != nil {
		return err
	}
	return errEnded
}

// Wrap puts something before the connections: tests cut them.
func (c *Client) Wrap(f func(http.RoundTripper) http.RoundTripper) {
	c.http.Transport = f(c.http.Transport)
}
