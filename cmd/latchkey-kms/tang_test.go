package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
)

// askTang: tang get PATH, tang post PATH FILE: asks as clevis does, and
// prints the answer.
func askTang(ts *testscript.TestScript, neg bool, args []string) {
	var reply *http.Response
	var err error
	switch {
	case len(args) == 2 && args[0] == "get":
		reply, err = anyServer.Get(ts.Getenv("URL") + args[1])
	case len(args) == 3 && args[0] == "post":
		body, readErr := os.ReadFile(ts.MkAbs(args[2]))
		ts.Check(readErr)
		reply, err = anyServer.Post(ts.Getenv("URL")+args[1], "application/jwk+json", bytes.NewReader(body))
	default:
		ts.Fatalf("usage: tang get PATH, tang post PATH FILE")
	}
	ts.Check(err)
	defer reply.Body.Close()
	if (reply.StatusCode != http.StatusOK) != neg {
		ts.Fatalf("tang %v: %s", args, reply.Status)
	}
	text, err := io.ReadAll(reply.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s\n", text)
}
