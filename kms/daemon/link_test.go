package daemon

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"latchkey/kms"
	"latchkey/kms/config"
	"latchkey/kms/front"
	"latchkey/kms/home"
	"latchkey/kms/server"
	"latchkey/kms/server/hook"
	"latchkey/kms/softtpm"
)

// A machine asks, a phone gets a notice without its words, and whoever has
// them from the console approves there.
func TestLinkOfANotice(t *testing.T) {
	dir := t.TempDir()
	s, ask := lab(t, dir)
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, nil))
	told := make(chan string, 8)
	phone := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		told <- string(body)
	}))
	defer phone.Close()
	pages := httptest.NewTLSServer(webPage(&config.Admin{}, s, nil, log))
	defer pages.Close()
	key := filepath.Join(dir, "hook.secret")
	if err := os.WriteFile(key, []byte("whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 32))), 0o600); err != nil {
		t.Fatal(err)
	}
	hooks, err := config.Hooks{{URL: phone.URL, SecretFile: key, Approve: config.ByWords, Person: "ann", On: []string{"pending"}}}.Targets()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); tellHooks(ctx, hooks, pages.URL, s, log) }()
	defer func() { stop(); <-done }()

	var tpm *softtpm.TPM
	notice := ""
	for i := 0; notice == "" && i < 100; i++ { // until the hook listens
		if tpm, err = softtpm.New(); err != nil {
			t.Fatal(err)
		}
		if err := ask(tpm); err == nil {
			t.Fatal("a stranger got something")
		}
		select {
		case notice = <-told:
		case <-time.After(100 * time.Millisecond):
		}
	}
	link := linkIn(t, notice, pages.URL+"/link/", tpm)
	status := follow(t, pages.Client(), link, tpm.NodeID().Words())
	if err := ask(tpm); status != 200 || err != nil {
		t.Errorf("approving: status %d; then the machine is told %v", status, err)
	}
	stop()
	<-done
	if secret := strings.TrimPrefix(link, pages.URL+"/link/"); strings.Contains(said.String(), secret) {
		t.Errorf("the log has the link: %s", said.String())
	}
}

// lab is a key server, and how a machine asks it.
func lab(t *testing.T, dir string) (*server.Server, func(*softtpm.TPM) error) {
	t.Helper()
	h := home.Home{Location: config.Location{Data: dir, Place: config.Place{Kind: config.Bolt, Path: filepath.Join(dir, "kms.db")}}}
	if _, err := h.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s, err := h.Open(t.Context(), server.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nodes := server.NewFront(s, l, nil, front.Options{}, slog.New(slog.DiscardHandler))
	go nodes.Serve()
	t.Cleanup(func() { nodes.Close(); s.Close() })
	client := kms.Client{Pins: s.Pins()}
	return s, func(tpm *softtpm.TPM) error {
		_, err := client.Get(t.Context(), "http://"+l.Addr().String(), tpm, []kms.Want{{UUID: kms.UUID{1}, Digest: [32]byte{1}, SeqID: 3}})
		return err
	}
}

// linkIn is the link of a notice, which has nothing that must be read from
// the console.
func linkIn(t *testing.T, notice, prefix string, tpm *softtpm.TPM) string {
	t.Helper()
	var payload struct{ Data hook.Notice }
	if err := json.Unmarshal([]byte(notice), &payload); err != nil || !strings.HasPrefix(payload.Data.Link, prefix) {
		t.Fatalf("the notice is %s, %v", notice, err)
	}
	if id := tpm.NodeID(); strings.Contains(notice, id.Words()) || strings.Contains(notice, id.String()) {
		t.Errorf("the notice has what must be read from the console: %s", notice)
	}
	return payload.Data.Link
}

// follow opens a link, and types words there.
func follow(t *testing.T, c *http.Client, link, words string) (status int) {
	t.Helper()
	reply, err := c.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(reply.Body)
	reply.Body.Close()
	shown := regexp.MustCompile(`name="shown" value="([0-9a-f]+)"`).FindSubmatch(text)
	if err != nil || shown == nil {
		t.Fatalf("the link shows %s, %v", text, err)
	}
	if reply, err = c.PostForm(link, url.Values{"shown": {string(shown[1])}, "words": {words}}); err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	return reply.StatusCode
}
