package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// webTimeout bounds one request.
const webTimeout = 10 * time.Second

// errFinal is a failure that another attempt does not mend.
var errFinal = errors.New("it is not tried again")

func isFinal(err error) bool { return errors.Is(err, errFinal) }

// A Web is a web service that is told by requests.
type Web struct {
	url     string
	bare    bool // its path is a secret, too
	client  *http.Client
	request func(message, time.Time) (*http.Request, error)
}

// NewWeb is a service that is told by signed POST requests, in the format of
// Standard Webhooks 1.0.0.
func NewWeb(to string, keys *Signer) (*Web, error) {
	w, err := newWeb(to)
	if err != nil {
		return nil, err
	}
	w.request = func(m message, now time.Time) (*http.Request, error) {
		body, err := m.payload()
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequest(http.MethodPost, to, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(IDHeader, m.id())
		r.Header.Set(TimestampHeader, strconv.FormatInt(now.Unix(), 10))
		r.Header.Set(SignatureHeader, keys.Sign(m.id(), now, body))
		return r, nil
	}
	return w, nil
}

// newWeb checks the URL.
func newWeb(to string) (*Web, error) {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return nil, errors.New("it is no URL of a web service, as https://host/path")
	}
	return &Web{url: to, client: &http.Client{
		Timeout: webTimeout,
		// A redirect would send a signed notice to who was not chosen.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
	}}, nil
}

// String leaves the query out, and the path where that is a secret: people
// and services put keys there.
func (w *Web) String() string {
	u, _ := url.Parse(w.url) // newWeb has
	if u.RawQuery = ""; w.bare {
		u.Path, u.RawPath = "", ""
	}
	return u.String()
}

func (w *Web) deliver(ctx context.Context, m message) error {
	r, err := w.request(m, time.Now())
	if err != nil {
		return fmt.Errorf("%w: %w", errFinal, err)
	}
	reply, err := w.client.Do(r.WithContext(ctx))
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err // without the query
		}
		return err
	}
	defer reply.Body.Close()
	io.CopyN(io.Discard, reply.Body, 4<<10) // so that the connection serves again
	switch {
	case reply.StatusCode/100 == 2:
		return nil
	case reply.StatusCode/100 == 5, reply.StatusCode == http.StatusTooManyRequests, reply.StatusCode == http.StatusRequestTimeout:
		return fmt.Errorf("HTTP status %d", reply.StatusCode)
	}

	return fmt.Errorf("%w: HTTP status %d", errFinal, reply.StatusCode)
}
