package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"latchkey/internal/cli"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/operator"
	"latchkey/kms/server/lk1"
)

// An asker asks the key server that the command line names.
type asker struct {
	flags  *config.Flags
	remote operator.Remote
	needs  string // what was asked for is not done: who else must say so
}

// add adds the flags that say which server. Commands that open the data
// directory themselves have none of them.
func (a *asker) add(f *pflag.FlagSet) {
	f.StringVar(&a.remote.Server, "server", "", "ask the server at this URL, over HTTPS, instead of the one on this host: https://kms.example.org:7743")
	f.StringVar(&a.remote.Token, "token-file", "", "file of the token for --server")
	f.StringVar(&a.remote.Cert, "cert", "", "PEM client certificate for --server, instead of a token")
	f.StringVar(&a.remote.Key, "key", "", "PEM key of --cert")
	f.StringVar(&a.remote.CA, "ca", "", "PEM file of the CA of --server's certificate (default: the system's CAs)")
}

// client is for one question. Close it.
func (a *asker) client(ctx context.Context) (*operator.Client, error) {
	if a.remote.Server != "" {
		return a.remote.Client()
	}
	if a.remote != (operator.Remote{}) {
		return nil, cli.Usagef("--token-file, --cert, --key and --ca are for --server, which is missing")
	}
	h, err := homeOf(a.flags)
	if err != nil {
		return nil, err
	}
	return operator.Local(ctx, h)
}

// call asks one thing: operator.Client.Call.
func (a *asker) call(ctx context.Context, method, path string, query url.Values, body, to any) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Call(ctx, method, path, query, body, to); err != nil || method == "GET" {
		return err
	}
	answer, err := json.Marshal(to)
	a.needs = lk1.NeedsOf(answer)
	return err
}

// outcome is how the command ends that asked.
func (a *asker) outcome() error {
	if a.needs == "" {
		return nil
	}
	return &cli.Exit{Code: cli.Waiting, Err: errors.New("not done yet: others must say the same")}
}

// warn says what is doubtful about the configuration and the data directory
// of a server on this host.
func (a *asker) warn(w io.Writer) {
	if a.remote.Server != "" {
		return
	}
	h, err := homeOf(a.flags)
	if err != nil {
		return // said by client
	}
	for _, line := range append(a.flags.Warnings(), h.Warnings()...) {
		fmt.Fprintln(w, "warning:", line)
	}
}

// homeOf is where the KMS of this command line is.
func homeOf(flags *config.Flags) (home.Home, error) {
	l, err := flags.Location()
	return home.Home{Location: l}, err
}

// output is how answers are printed.
type output struct{ json bool }

func (o *output) add(f *pflag.FlagSet) { f.BoolVar(&o.json, "json", false, "print JSON") }

// show prints v as JSON, or as text.
func (o *output) show(c *cobra.Command, v any, text func()) error {
	if !o.json {
		text()
		return nil
	}
	e := json.NewEncoder(c.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(v)
}
