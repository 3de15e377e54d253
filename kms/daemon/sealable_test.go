package daemon

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"latchkey/kms"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/softtpm"
)

// A sealable is a key server whose wrapping key is away until the file open
// is there.
type sealable struct {
	t     *testing.T
	dir   string
	pin   kms.Pin
	d     *Daemon
	lines *bufio.Reader // what it prints
	ended chan error
	stop  context.CancelFunc
}

// newSealable makes one, sealed, that fails to get its key by these lines of
// shell.
func newSealable(t *testing.T, away, config string) *sealable {
	t.Helper()
	s := &sealable{t: t, dir: t.TempDir(), ended: make(chan error, 1)}
	unwrap, wrap := filepath.Join(s.dir, "unwrap"), filepath.Join(s.dir, "wrap")
	s.write("unwrap", "#!/bin/sh\n[ -e "+s.dir+"/open ] || { "+away+"; }\nrev\n")
	s.write("wrap", "#!/bin/sh\nbase64 | rev\n")
	s.write("kms.yaml", "data: "+s.dir+"/data\nwrapping: {exec: {unwrap: "+unwrap+", wrap: "+wrap+"}}\n"+strings.ReplaceAll(config, "DIR", s.dir))
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	s.d = &Daemon{Errors: io.Discard}
	s.d.Home, s.d.Config = s.read(set)

	s.write("open", "")
	pin, err := s.d.Home.Create(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.pin = pin
	if err := os.Remove(filepath.Join(s.dir, "open")); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sealable) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o700); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sealable) read(set *pflag.FlagSet) (home.Home, *config.Config) {
	s.t.Helper()
	flags := config.LocationFlags(set).Serve(set)
	if err := set.Parse([]string{"--config", filepath.Join(s.dir, "kms.yaml")}); err != nil {
		s.t.Fatal(err)
	}
	c, err := flags.Config()
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := c.Location()
	if err != nil {
		s.t.Fatal(err)
	}
	return home.Home{Location: l}, c
}

// run runs it until the test ends.
func (s *sealable) run() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	r, w := io.Pipe()
	s.d.Out, s.lines = w, bufio.NewReader(r)
	go func() {
		err := s.d.Run(ctx)
		w.CloseWithError(errors.Join(io.EOF, err))
		s.ended <- err
	}()
	s.t.Cleanup(func() {
		stop()
		go io.Copy(io.Discard, s.lines)
		if err := <-s.ended; err != nil {
			s.t.Errorf("Run = %v", err)
		}
	})
}

// address waits for the line of a listener, and is where that is.
func (s *sealable) address(line string) string {
	s.t.Helper()
	for {
		got, err := s.lines.ReadString('\n')
		if err != nil {
			s.t.Fatalf("waiting for %q: %v", line, err)
		}
		if at, ok := strings.CutPrefix(got, line); ok {
			return strings.TrimSpace(at)
		}
	}
}

// get asks over HTTP and returns status, Retry-After and body.
func (s *sealable) get(url string) (code int, after, body string) {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	reply, err := client.Get(url)
	if err != nil {
		s.t.Fatal(err)
	}
	defer reply.Body.Close()
	text, _ := io.ReadAll(reply.Body)
	return reply.StatusCode, reply.Header.Get("Retry-After"), string(text)
}

// ask asks for a volume as a machine's init does.
func (s *sealable) ask(at string) error {
	s.t.Helper()
	tpm, err := softtpm.New()
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = (&kms.Client{Pins: []kms.Pin{s.pin}}).Get(s.t.Context(), "http://"+at, tpm, []kms.Want{{UUID: kms.UUID{1}}})
	return err
}

// call calls a method of gRPC.
func (s *sealable) call(target, method string) codes.Code {
	s.t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	var reply emptyMessage
	return status.Code(conn.Invoke(ctx, method, &emptyMessage{}, &reply, grpc.ForceCodec(emptyCodec{}), grpc.WaitForReady(true)))
}

type emptyMessage struct{}

// emptyCodec sends and takes messages without fields.
type emptyCodec struct{}

func (emptyCodec) Marshal(any) ([]byte, error) { return nil, nil }
func (emptyCodec) Unmarshal([]byte, any) error { return nil }
func (emptyCodec) Name() string                { return "proto" }
