package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/cli"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
)

// A History is a key server with a long audit log, and how it starts.
type History struct {
	KMS    string // the latchkey-kms program
	Events int
	Dir    string // of a database that is kept for the next run; empty: a temporary one
}

// A Start is what a start took.
type Start struct {
	After    string        // how the server had ended
	Serving  time.Duration // until machines are answered
	Memory   int64         // then, in bytes: what is in memory and is no file
	Verified time.Duration // until all of the log is verified
	Peak     int64         // of the resident memory until then, in bytes, pages of the file among it
}

// atOnce is how many events one transaction of the filling has.
const atOnce = 2000

// Run fills a log, seals it, and starts a server on it after a clean end and
// after a kill.
func (h *History) Run(ctx context.Context, out io.Writer) (starts []Start, err error) {
	if h.Events < 1 || h.Events > 1_000_000_000 {
		return nil, cli.Usagef("--events must be 1 to 1000000000")
	}
	dir := h.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "latchkey-kms-bench"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
	}
	k := home.Home{Location: config.Location{Data: dir, Place: config.Place{Kind: config.Bolt, Path: filepath.Join(dir, "kms.db")}}}
	if err := h.fill(ctx, k, out); err != nil {
		return nil, fmt.Errorf("filling the log: %w", err)
	}
	for _, after := range []string{"a clean end", "a kill"} {
		s, err := h.start(ctx, dir, after)
		if err != nil {
			return nil, fmt.Errorf("starting after %s: %w", after, err)
		}
		fmt.Fprintf(out, "start after %-12s serving after %8s, %4d MB of memory; all verified after %8s, peak %5d MB with pages of the file\n",
			after+":", s.Serving.Round(time.Millisecond), s.Memory>>20, s.Verified.Round(time.Millisecond), s.Peak>>20)
		starts = append(starts, s)
	}
	return starts, nil
}

// fill makes the log, unless it is there.
func (h *History) fill(ctx context.Context, k home.Home, out io.Writer) error {
	if _, err := os.Stat(k.Place.Path); err != nil {
		if _, err := k.Create(ctx, nil); err != nil {
			return err
		}
	}
	s, err := k.Open(ctx, server.Config{})
	if err != nil {
		return err
	}
	defer s.Close()
	began := time.Now()
	there, err := s.AuditEvents()
	for n := int(there); err == nil && n < h.Events; n += atOnce {
		err = s.Update(ctx, func(t *ledger.Txn) error { return noteMany(t, n, min(atOnce, h.Events-n)) })
	}
	if err != nil {
		return err
	}
	filled := time.Since(began)
	began = time.Now()
	done, err := s.SealDue(ctx, 0)
	if err != nil {
		return err
	}
	info, err := os.Stat(k.Place.Path)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d events in %s, sealed in %d segments in %s: %d MB, %d bytes for an event\n", h.Events, filled.Round(time.Second), len(done), time.Since(began).Round(time.Millisecond),
		info.Size()>>20, info.Size()/int64(h.Events))
	return nil
}

// noteMany logs events as a release leaves them.
func noteMany(t *ledger.Txn, from, n int) error {
	for i := range n {
		id := fmt.Sprintf("%064x", (from+i)%10_000)
		err := t.Note(ledger.Event{
			Event: "get", Node: id, Status: "ok", From: "192.0.2.7", Detail: "8b7f0000-0000-4000-8000-000000000001", TH2: id,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// start starts a server, waits until it has verified all, and ends it: the
// first one by a kill.
func (h *History) start(ctx context.Context, dir, after string) (s Start, err error) {
	s.After = after
	began := time.Now()
	child := exec.CommandContext(ctx, h.KMS, "serve", "--data", dir, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return s, err
	}
	if err := child.Start(); err != nil {
		return s, err
	}
	defer child.Wait()
	defer child.Process.Kill()

	metrics := ""
	for lines := bufio.NewScanner(out); metrics == "" && lines.Scan(); {
		if at, is := strings.CutPrefix(lines.Text(), "listening for metrics on "); is {
			metrics = at
		}
	}
	if metrics == "" {
		return s, errors.New("the server ended before it answered")
	}
	if err := until(ctx, metrics, func(string) bool { return true }); err != nil {
		return s, err
	}
	s.Serving = time.Since(began)
	s.Memory = status(child.Process.Pid, "RssAnon:")
	if err := until(ctx, metrics, func(answer string) bool { return answer == "ok\n" }); err != nil {
		return s, err
	}
	s.Verified, s.Peak = time.Since(began), status(child.Process.Pid, "VmHWM:")
	return s, nil
}

// until waits until the server is ready and says what is wanted.
func until(ctx context.Context, metrics string, wanted func(answer string) bool) error {
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metrics+"/readyz", nil)
		if err != nil {
			return err
		}
		reply, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(reply.Body)
		reply.Body.Close()
		switch ready := reply.StatusCode == http.StatusOK; {
		case err != nil:
			return err
		case ready && wanted(string(b)):
			return nil
		case !ready && !strings.HasPrefix(string(b), "starting"):
			return fmt.Errorf("the server is not ready: %s", b)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// status reads a number of kB from a process' status: proc_pid_status(5).
func status(pid int, field string) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, is := strings.CutPrefix(line, field); is {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}
