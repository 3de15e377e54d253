package operator_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/cli"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/ledger"
	"latchkey/kms/operator"
	"latchkey/kms/server"
	"latchkey/kms/server/lk1"
)

func newHome(t *testing.T) home.Home {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	h := home.Home{Location: config.Location{Data: dir, Place: config.Place{Kind: config.Bolt, Path: filepath.Join(dir, "kms.db")}}}
	if _, err := h.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return h
}

// Where no server runs the database itself is asked, by the same requests.
func TestInProcess(t *testing.T) {
	c, err := operator.Local(operator.Here(t.Context()), newHome(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Live {
		t.Error("the client says that a server runs")
	}

	uuid := url.Values{"uuid": {"8b7f0000-0000-4000-8000-000000000001"}}
	var volumes []lk1.Volume
	if err := c.Call(operator.Here(t.Context()), "POST", "/v1/volume/put", uuid, []byte("a passphrase of some length"), &volumes); err != nil {
		t.Fatal(err)
	}
	err = c.Call(t.Context(), "POST", "/v1/volume/put", uuid, []byte("another passphrase that is long"), &volumes)
	if exit, ok := errors.AsType[*cli.Exit](err); !ok || exit.Code != cli.Refused {
		t.Errorf("a second put = %v, want exit code %d", err, cli.Refused)
	}

	for name, one := range map[string]struct {
		path  string
		query url.Values
		want  int
	}{
		"an argument that only the server judges": {"/v1/audit", url.Values{"from": {"x"}}, cli.Usage},
		"what there is not":                       {"/v1/node", url.Values{"who": {"nobody-at-all"}}, cli.Failed},
	} {
		err := c.Call(t.Context(), "GET", one.path, one.query, nil, &json.RawMessage{})
		code := cli.Failed
		if exit, ok := errors.AsType[*cli.Exit](err); ok {
			code = exit.Code
		}
		if err == nil || code != one.want {
			t.Errorf("%s: %v, exit code %d, want %d", name, err, code, one.want)
		}
	}

	var events []ledger.Event
	if err := c.Call(t.Context(), "GET", "/v1/audit", url.Values{"from": {"1"}}, nil, &events); err != nil {
		t.Fatal(err)
	}
	if last := events[len(events)-1]; last.Event != "volume put" || last.From != operator.Who(os.Getuid()) {
		t.Errorf("the log says %+v, want a put by %s", last, operator.Who(os.Getuid()))
	}

	var backup bytes.Buffer
	if err := c.Call(t.Context(), "GET", "/v1/backup", nil, nil, &backup); err != nil || backup.Len() == 0 {
		t.Errorf("a backup of %d bytes, %v", backup.Len(), err)
	}
	if err := c.Watch(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "no server runs here") {
		t.Errorf("Watch = %v, want that no server runs here", err)
	}
}

// A server that runs is asked by its socket, and the database is left alone.
func TestSocket(t *testing.T) {
	h := newHome(t)
	l, err := net.Listen("unix", h.Socket())
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, r.Method+" "+r.URL.String()+" "+string(body))
		json.NewEncoder(w).Encode("answered")
	})}
	go web.Serve(l)
	defer web.Close()

	c, err := operator.Local(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var answer string
	if err := c.Call(t.Context(), "POST", "/v1/x", url.Values{"a": {"b c"}}, map[string]int{"n": 1}, &answer); err != nil || answer != "answered" || !c.Live {
		t.Errorf("Call = %q, %v, live %t", answer, err, c.Live)
	}
	if want := `POST /v1/x?a=b+c {"n":1}`; len(asked) != 1 || asked[0] != want {
		t.Errorf("the server was asked %q, want %q", asked, want)
	}
}

// What a server refuses, and what it cannot do, as errors and exit codes.
func TestAnswers(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		body   string
		want   string
		code   int // 0: no exit code of its own
	}{
		{"refused", 409, `{"error":"it has a secret"}`, "it has a secret", cli.Refused},
		{"who is that", 401, `{"error":"not known"}`, "not known", cli.Refused},
		{"not his to do", 403, `{"error":"it needs scope admin"}`, "it needs scope admin", cli.Refused},
		{"not there", 404, `{"error":"there is no such one"}`, "there is no such one", 0},
		{"broken", 503, `{"error":"the store is away"}`, "the store is away", 0},
		{"not ours", 502, `<html>bad gateway</html>`, "asking the running server: HTTP status 502", 0},
		{"no words", 500, `{}`, "asking the running server: HTTP status 500", 0},
	} {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(row.status)
			io.WriteString(w, row.body)
		}))
		c, err := remoteOf(t, server).Client()
		if err != nil {
			t.Fatal(err)
		}
		err = c.Call(t.Context(), "GET", "/v1/x", nil, nil, nil)
		exit, coded := errors.AsType[*cli.Exit](err)
		if err == nil || err.Error() != row.want || coded != (row.code != 0) || coded && exit.Code != row.code {
			t.Errorf("%s: Call = %v, want %q, exit code %d", row.name, err, row.want, row.code)
		}
		server.Close()
	}
}

// remoteOf says how to ask a test's server: by its own certificate, with a
// token.
func remoteOf(t *testing.T, server *httptest.Server) operator.Remote {
	t.Helper()
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, text := range map[string][]byte{"ca.pem": ca, "token": []byte("latchkey_x\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return operator.Remote{Server: server.URL, Token: filepath.Join(dir, "token"), CA: filepath.Join(dir, "ca.pem")}
}

// The token goes to the server that was named, and follows no redirection.
func TestRemote(t *testing.T) {
	var tokens []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, r.URL.Path+" "+r.Header.Get("Authorization"))
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer server.Close()
	c, err := remoteOf(t, server).Client()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), "GET", "/v1/x", nil, nil, nil); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("a redirection = %v, want an error", err)
	}
	if len(tokens) != 1 || tokens[0] != "/v1/x Bearer latchkey_x" {
		t.Errorf("the server was told %q", tokens)
	}

	other := remoteOf(t, server)
	other.CA = "" // the system's authorities have not signed it
	if c, err = other.Client(); err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), "GET", "/v1/x", nil, nil, nil); err == nil || len(tokens) != 1 {
		t.Errorf("a server with another certificate = %v; it was told %q", err, tokens)
	}
}

func TestWrongRemote(t *testing.T) {
	good := operator.Remote{Server: "https://kms.example.org:7743", Token: "t"}
	if _, err := good.Client(); err != nil {
		t.Errorf("Client of %+v = %v", good, err)
	}
	for name, r := range map[string]operator.Remote{
		"in clear":       {Server: "http://kms.example.org", Token: "t"},
		"no scheme":      {Server: "kms.example.org:7743", Token: "t"},
		"a path":         {Server: "https://kms.example.org/v1", Token: "t"},
		"a user":         {Server: "https://u@kms.example.org", Token: "t"},
		"a query":        {Server: "https://kms.example.org?x", Token: "t"},
		"nothing shown":  {Server: "https://kms.example.org"},
		"both shown":     {Server: "https://kms.example.org", Token: "t", Cert: "c", Key: "k"},
		"half a pair":    {Server: "https://kms.example.org", Cert: "c"},
		"the other half": {Server: "https://kms.example.org", Token: "t", Key: "k"},
	} {
		_, err := r.Client()
		if exit, ok := errors.AsType[*cli.Exit](err); !ok || exit.Code != cli.Usage || !strings.HasPrefix(err.Error(), "--server") {
			t.Errorf("%s: Client = %v, want a usage error about --server", name, err)
		}
	}
}

// A watch tells of each machine, line by line, and says how it ended.
func TestWatch(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, ": hello\n\nevent: node\ndata: {\"words\":\"a b c d e f\"}\n\ndata: {\"words\":\"g h i j k l\"}\n\n")
	}))
	defer server.Close()
	c, err := remoteOf(t, server).Client()
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	err = c.Watch(t.Context(), func(n lk1.Node) error { told = append(told, n.Words); return nil })
	if err == nil || err.Error() != "watching: the server ended the watch" || strings.Join(told, "; ") != "a b c d e f; g h i j k l" {
		t.Errorf("Watch told %q, %v", told, err)
	}

	stop := errors.New("enough")
	if err := c.Watch(t.Context(), func(lk1.Node) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Watch = %v, want what tell said", err)
	}
}

// A server that starts has the database, and does not answer yet.
func TestStartingServer(t *testing.T) {
	h := newHome(t)
	s, err := h.Open(t.Context(), server.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := operator.Local(t.Context(), h); err == nil || !strings.Contains(err.Error(), "a key server that starts and does not answer yet, or another command: say this again in a moment") {
		t.Errorf("Local = %v", err)
	}
}
