package operator

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/home"
)

// UnsealPath is where a sealed server says how many shares of its wrapping
// key it has (GET), and takes one (POST).
const UnsealPath = "/v1/unseal"

// A Share is what is posted there.
type Share struct {
	Share string `json:"share"`
}

// Running asks the server that runs on a data directory; the database is not
// opened if none does.
func Running(ctx context.Context, h home.Home) (*Client, error) {
	up, err := h.Running(ctx)
	if err != nil {
		return nil, err
	}
	if !up {
		return nil, fmt.Errorf("no server runs on %s; start it: it waits for the shares", h.Data)
	}
	return overSocket(h.Socket()), nil
}

// NotSealed says what an answer of UnsealPath means that knows no such
// question.
func NotSealed(err error) error {
	status, known := errors.AsType[*admin.StatusError](err)
	code, other := errors.AsType[kms.HTTPStatus](err)
	if known && status.Status == http.StatusUnauthorized || other && code == http.StatusNotFound {
		return &cli.Exit{Code: cli.Refused, Err: errors.New("the server is not sealed")}
	}
	return err
}
