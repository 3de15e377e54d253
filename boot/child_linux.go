package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"latchkey/boot/wire"
)

// Start implements System: the same binary, its role and how often it
// was started before as arguments, the record socket as descriptor 3. The
// environment stays behind: the kernel fills it from the command line
// (GODEBUG=, GOTRACEBACK=).
func (k *Kernel) Start(role string, incarnation int) (Child, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("making the record socket: %w", err)
	}

	ours, theirs := os.NewFile(uintptr(pair[0]), "records"), os.NewFile(uintptr(pair[1]), "records")
	defer theirs.Close()
	proc, err := os.StartProcess("/proc/self/exe", []string{"latchkey-" + role, role, strconv.Itoa(incarnation)},
		&os.ProcAttr{Dir: "/", Env: []string{}, Files: []*os.File{nil, os.Stderr, os.Stderr, theirs}})
	if err != nil {
		ours.Close()
		return nil, err
	}

	c := &child{proc: proc, sock: ours, records: make(chan wire.Record, 16)}
	go c.read()
	return c, nil
}

// A child is a process of ours. Nothing else is ever started before the
// pivot, so waiting for each by its pid reaps all there is.
type child struct {
	proc    *os.Process
	sock    *os.File
	records chan wire.Record
}

// read passes records on until the child ends or says what no record is.
func (c *child) read() {
	defer close(c.records)
	defer c.sock.Close()
	receive(c.sock, c.records)
	c.proc.Kill() // it may live with its socket closed
	c.proc.Wait()
}

// receive passes records on until the socket's other side is closed. If
// that left an order unread, the kernel reports it once, before what the
// child said last (unix_release_sock and sock_error): its reason.
func receive(sock io.Reader, records chan<- wire.Record) {
	buf := make([]byte, wire.Size+1)
	for {
		n, err := sock.Read(buf)
		if errors.Is(err, unix.ECONNRESET) {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		r, err := wire.Decode(buf[:n])
		if err != nil {
			return
		}
		records <- r
	}
}

func (c *child) Records() <-chan wire.Record { return c.records }

func (c *child) Send(r wire.Record) error {
	b := r.Encode()
	_, err := c.sock.Write(b[:])
	return err
}

func (c *child) Kill() { c.proc.Kill() }
