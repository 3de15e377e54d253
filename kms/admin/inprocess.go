package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"latchkey/kms"
)

// Ask has a handler answer in this process.
func Ask(h http.Handler, r *http.Request) (reply *http.Response, err error) {
	defer func() {
		if p := recover(); p != nil { // http.ErrAbortHandler: the answer is not whole
			err = fmt.Errorf("reading the database: %v", p)
		}
	}()
	w := &recorder{status: http.StatusOK}
	h.ServeHTTP(w, r)
	return &http.Response{StatusCode: w.status, Body: io.NopCloser(&w.body)}, nil
}

// recorder keeps the answer of a handler called in this process.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *recorder) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) { w.status = status }

// Write implements http.ResponseWriter.
func (w *recorder) Write(b []byte) (int, error) { return w.body.Write(b) }

// A StatusError is an answer that refuses.
type StatusError struct {
	Status int // of HTTP
	Text   string
}

func (e *StatusError) Error() string { return e.Text }

// Decode reads an answer into to: an io.Writer takes it as it is, anything
// else takes its JSON. One that refuses is a *StatusError.
func Decode(reply *http.Response, to any) error {
	if reply.StatusCode == http.StatusOK {
		if w, ok := to.(io.Writer); ok {
			_, err := io.Copy(w, reply.Body)
			return err
		}
		return json.NewDecoder(reply.Body).Decode(to)
	}

	var p Problem
	if err := json.NewDecoder(reply.Body).Decode(&p); err != nil || p.Error == "" {
		return fmt.Errorf("asking the running server: %w", kms.HTTPStatus(reply.StatusCode))
	}
	return &StatusError{reply.StatusCode, p.Error}
}

// Refused tells whether an error is an answer that says no, and not one that
// says that something failed.
func Refused(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && (e.Status == http.StatusConflict || e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden)
}
