package chaos_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// madeIn is the folder of program; "" until somebody has wanted it.
var madeIn string

// program is latchkey-kms, built once.
var program = sync.OnceValues(func() (path string, err error) {
	if madeIn, err = os.MkdirTemp("", "chaos"); err != nil {
		return "", err
	}
	path = filepath.Join(madeIn, "latchkey-kms")
	out, err := exec.Command("go", "build", "-o", path, "latchkey/cmd/latchkey-kms").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("building latchkey-kms: %w\n%s", err, out)
	}
	return path, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if madeIn != "" {
		os.RemoveAll(madeIn)
	}
	os.Exit(code)
}

// A server is one latchkey-kms, started again when it ends.
type server struct {
	t       *testing.T
	program string
	data    string
	store   []string // flags
	wires   []*wire  // to the store; none if that is a file

	mu      sync.Mutex
	child   *exec.Cmd
	address string // "" while it does not answer
	log     bytes.Buffer
	over    bool
	runs    sync.WaitGroup
	starts  int
}

// run has the server run until end is called.
func (s *server) run() {
	s.runs.Go(func() {
		for {
			s.mu.Lock()
			over := s.over
			s.mu.Unlock()
			if over {
				return
			}
			if err := s.once(); err != nil {
				s.t.Error(err)
				return
			}
		}
	})
}

// once runs it until it ends.
func (s *server) once() error {
	cmd := exec.Command(s.program, append([]string{"serve", "--data", s.data, "--listen", "127.0.0.1:0", "--log-level", "warn"}, s.store...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = s
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return nil
	}
	err = cmd.Start()
	s.child, s.starts = cmd, s.starts+1
	s.mu.Unlock()
	if err != nil {
		return err
	}

	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			s.mu.Lock()
			s.address = address
			s.mu.Unlock()
		}
	}
	cmd.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = ""
	return nil
}

// Write takes the log.
func (s *server) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

// says is the end of its log.
func (s *server) says() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.log.String()
	return text[max(0, len(text)-4000):]
}

// signal reaches the process that runs now, if one does.
func (s *server) signal(what syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child != nil && s.child.Process != nil {
		s.child.Process.Signal(what)
	}
}

// end ends it for good.
func (s *server) end() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.signal(syscall.SIGCONT)
	s.signal(syscall.SIGKILL)
	s.runs.Wait()
}

// url is where machines ask it; "" while it does not answer.
func (s *server) url() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address == "" {
		return ""
	}
	return "http://" + s.address
}

// patience is how long somebody waits for an answer.
const patience = 4 * time.Second

// errRefused is a decision of the server.
var errRefused = errors.New("refused")

// operate asks for something by the operator's socket.
func (s *server) operate(method, path string, query url.Values, body []byte, to any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(s.data, "admin.sock"))
	}}}
	r, err := http.NewRequestWithContext(ctx, method, "http://kms"+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	reply, err := client.Do(r)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	switch {
	case err != nil:
		return err
	case reply.StatusCode == http.StatusConflict:
		return fmt.Errorf("%w: %s", errRefused, text)
	case reply.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", reply.Status, text)
	case to == nil:
		return nil
	}
	return json.Unmarshal(text, to)
}
