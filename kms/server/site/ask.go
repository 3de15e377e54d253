package site

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"latchkey/kms/ledger"
)

// join shows the token of the join file, and forgets it.
func (f *Follower) join(ctx context.Context, self Self) error {
	body, err := json.Marshal(joining{self.Name, self.Token})
	if err != nil {
		return err
	}
	if _, err := f.post(ctx, self, joinPath, body, answerWait, maxJoin); err != nil && !errors.Is(err, errRefused) {
		return err
	} else if err != nil {
		f.log.Error("joining: if this server has joined before, that is no matter", "err", err)
	}
	return f.ledger.Update(ctx, func(t *ledger.Txn) error {
		now, _, err := SelfOf(t.View)
		if err != nil {
			return err
		}
		now.Token = ""
		return t.Save(tableSelf, keySelf, now)
	})
}

// post asks the center, at the address that answered last or the next one.
func (f *Follower) post(ctx context.Context, self Self, path string, body []byte, wait time.Duration, most int64) ([]byte, error) {
	client, at, err := f.clientFor(self)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+at+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	reply, err := client.Do(r)
	if err != nil {
		return nil, &cutOff{err}
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(http.MaxBytesReader(nil, reply.Body, most))
	switch {
	case err != nil:
		return nil, &cutOff{err}
	case reply.StatusCode == http.StatusGone:
		return nil, errGone
	case reply.StatusCode == http.StatusConflict, reply.StatusCode == http.StatusForbidden:
		return nil, fmt.Errorf("%w: %.300s", errRefused, bytes.TrimSpace(text))
	case reply.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("asking the center at %s: HTTP status %d", at, reply.StatusCode)
	}
	return text, nil
}

// A cutOff is no answer at all.
type cutOff struct{ err error }

func (c *cutOff) Error() string { return "the center does not answer: " + c.err.Error() }
func (c *cutOff) Unwrap() error { return c.err }

// clientFor is a client that knows the center's keys, and its address.
func (f *Follower) clientFor(self Self) (*http.Client, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := fmt.Sprint(self.Pins)
	if f.client == nil || f.known != known {
		pins, err := pinsOf(self.Pins)
		if err != nil {
			return nil, "", err
		}
		config, err := clientTLS(f.ledger.Signing()[0], pins)
		if err != nil {
			return nil, "", err
		}
		if f.client != nil {
			f.client.CloseIdleConnections()
		}
		f.client, f.known = newClient(config, f.dial), known
	}
	return f.client, self.Center[f.center%len(self.Center)], nil
}

// MaxConnections is how many connections to the center a site's server has at
// once, at most: more messages of machines wait for one.
const MaxConnections = 64

func newClient(config *tls.Config, dial Dial) *http.Client {
	if dial == nil {
		dial = (&net.Dialer{Timeout: relayWait}).DialContext
	}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: config, DialContext: dial, TLSHandshakeTimeout: relayWait, IdleConnTimeout: time.Minute, MaxConnsPerHost: MaxConnections, MaxIdleConnsPerHost: 16},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
