package boot

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"latchkey/internal/plan"
)

// A Conn is a child's side of the record socket.
type Conn struct{ sock *os.File }

// Inherited is the record socket that PID 1 left as descriptor 3.
func Inherited() (*Conn, error) {
	f := os.NewFile(3, "records")
	if f == nil {
		return nil, errors.New("there is no record socket: this role is started by PID 1 only")
	}
	syscall.CloseOnExec(3)
	return &Conn{f}, nil
}

// Send sends one record; each is one datagram, so senders do not mix.
func (c *Conn) Send(r Record) error {
	b := r.Encode()
	_, err := c.sock.Write(b[:])
	return err
}

// Recv waits for the next record.
func (c *Conn) Recv() (Record, error) {
	buf := make([]byte, recordBytes+1)
	n, err := c.sock.Read(buf)
	if err != nil {
		return Record{}, err
	}
	return DecodeRecord(buf[:n])
}

// fail tells PID 1 why the child ends; PID 1 tells the people.
func (c *Conn) fail(err error) error {
	return c.Send(Record{Kind: KindFailed, Code: codeOf(err), Text: err.Error()})
}

// A fault is what a debug image does to itself at a named point, so that
// tests can see a boot survive it: rd.latchkey.fault=worker:kms:panic.
// Only the first incarnation of a child is struck.
type faults struct {
	role   string
	points map[string]string // point → "panic", "kill", "hang"
}

func readFaults(p *plan.Plan, role string, incarnation int, cmdline string) faults {
	f := faults{role, map[string]string{}}
	if !p.Debug || incarnation > 0 {
		return f
	}

	args, err := plan.SplitCmdline(cmdline)
	if err != nil {
		return f
	}

	for _, a := range args {
		if !a.Is("rd.latchkey.fault") {
			continue
		}
		if parts := strings.Split(a.Value, ":"); len(parts) == 3 && parts[0] == role {
			f.points[parts[1]] = parts[2]
		}
	}

	return f
}

// at strikes if the command line says so.
func (f faults) at(point string) {
	switch f.points[point] {
	case "panic":
		panic("fault injected at " + point)
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "hang":
		select {}
	}
}
