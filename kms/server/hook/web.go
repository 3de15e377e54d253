package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"latchkey/internal/secret"
)

// Headers of a signed request.
const (
	TimestampHeader = "Latchkey-Timestamp" // Unix seconds
	SignatureHeader = "Latchkey-Signature" // "v1=" and hex of HMAC-SHA256(secret, timestamp ‖ "." ‖ body)
)

// webTimeout bounds one request.
const webTimeout = 10 * time.Second

// errFinal is a failure that another attempt does not mend.
var errFinal = errors.New("it is not tried again")

func isFinal(err error) bool { return errors.Is(err, errFinal) }

// A Web is a web service that is told by signed POST requests.
type Web struct {
	url    string
	secret secret.Bytes
	client *http.Client
}

// NewWeb checks the URL. The secret is at least 16 bytes, and kept.
func NewWeb(to string, key secret.Bytes) (*Web, error) {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%.200q is no URL of a web service, as https://host/path", to)
	}
	if key.Len() < 16 {
		return nil, fmt.Errorf("the secret has %d bytes, fewer than 16", key.Len())
	}
	return &Web{to, key, &http.Client{
		Timeout: webTimeout,
		// A redirect would send a signed notice to who was not chosen.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
	}}, nil
}

// String leaves the query out: people put keys there.
func (w *Web) String() string {
	u, _ := url.Parse(w.url) // NewWeb has
	u.RawQuery = ""
	return u.String()
}

func (w *Web) deliver(ctx context.Context, _ Notice, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", errFinal, err)
	}

	now := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(TimestampHeader, now)
	r.Header.Set(SignatureHeader, "v1="+Sign(w.secret, now, body))
	reply, err := w.client.Do(r)
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

// Sign is the signature's hex digits.
func Sign(key secret.Bytes, timestamp string, body []byte) string {
	h := hmac.New(sha256.New, key.Reveal())
	io.WriteString(h, timestamp+".")
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}
