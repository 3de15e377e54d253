package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms"
)

// emptyCommand serves what an HTTP server costs that does nothing: POST /N is
// answered with N bytes.
func emptyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "empty", Short: "Serve HTTP and do nothing", Hidden: true, Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), l.Addr())
			return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
				if _, copying := io.Copy(io.Discard, r.Body); err != nil || copying != nil || n < 0 || n > 1<<20 {
					http.Error(w, "POST /N", http.StatusBadRequest)
					return
				}
				w.Header().Set("Content-Type", "application/octet-stream")
				w.Write(make([]byte, n))
			}))
		},
	}
}

// An emptyServer is asked as the KMS is, on a connection of its own for each
// exchange, by requests and answers of the same sizes.
type emptyServer struct {
	child   *exec.Cmd
	address string
	sizes   [][2]int // of request and answer, in bytes
}

func startEmpty(ctx context.Context) (*emptyServer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	e := &emptyServer{child: exec.CommandContext(ctx, self, "empty")}
	out, err := e.child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := e.child.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		e.stop()
		return nil, fmt.Errorf("starting an empty server: %w", err)
	}
	e.address = strings.TrimSpace(line)
	return e, nil
}

func (e *emptyServer) stop() {
	e.child.Process.Kill()
	e.child.Wait()
}

func (e *emptyServer) cpu() (time.Duration, error) { return cpuOf(e.child.Process.Pid) }

// ask makes the first n requests of an exchange.
func (e *emptyServer) ask(ctx context.Context, machine, n int) error {
	c, err := dialer(machine).DialContext(ctx, "tcp", e.address)
	if err != nil {
		return err
	}
	defer c.Close()
	answers := bufio.NewReader(c)
	for _, size := range e.sizes[:n] {
		if _, err := fmt.Fprintf(c, "POST /%d HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", size[1], e.address, size[0], make([]byte, size[0])); err != nil {
			return err
		}
		answer, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
	}
	return nil
}

// A countedConn counts what goes over it.
type countedConn struct {
	net.Conn
	wrote, read *atomic.Int64
}

func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.wrote.Add(int64(n))
	return n, err
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

// sizes are how large the requests and answers of one exchange are, headers
// included.
func (f *lk1Fleet) sizes(ctx context.Context) (all [][2]int, err error) {
	var before [2]int
	for _, prover := range []kms.Prover{deaf{f.tpms[0]}, f.tpms[0]} {
		var wrote, read atomic.Int64
		client := f.client(0)
		dial := client.Dial
		client.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			return countedConn{c, &wrote, &read}, err
		}
		g, err := client.Get(ctx, f.b.url, prover, []kms.Want{{UUID: uuidOf(0)}})
		if err == nil {
			g.Wipe()
		} else if _, is := prover.(deaf); !is {
			return nil, err
		}
		now := [2]int{int(wrote.Load()), int(read.Load())}
		all = append(all, [2]int{now[0] - before[0], now[1] - before[1]})
		before = now
	}
	return all, nil
}

// empty are the runs of an empty server that go with those of lk1.
func (b *Load) empty(ctx context.Context, f *lk1Fleet, r *Result) error {
	e, err := startEmpty(ctx)
	if err != nil {
		return err
	}
	defer e.stop()
	if e.sizes, err = f.sizes(ctx); err != nil {
		return err
	}
	for i := range e.sizes {
		run, err := b.steady(ctx, workload{fmt.Sprintf("empty HTTP server, %d of %d requests", i+1, len(e.sizes)), func(ctx context.Context, machine int) error {
			return e.ask(ctx, machine, i+1)
		}, nil, e.cpu})
		if err != nil {
			return err
		}
		r.Runs[i].Empty = run.PerCore
		r.Runs = append(r.Runs, run)
	}
	return nil
}
