package wire

import (
	"errors"
	"io"
	"os"
	"syscall"

	"latchkey/boot/codes"
)

// A Conn is a child's side of the record socket.
type Conn struct{ sock io.ReadWriter }

// Inherited is the record socket that PID 1 left as descriptor 3.
func Inherited() (*Conn, error) {
	f := os.NewFile(3, "records")
	if f == nil {
		return nil, errors.New("there is no record socket: this role is started by PID 1 only")
	}
	syscall.CloseOnExec(3)
	return NewConn(f), nil
}

// NewConn speaks records over a socket that keeps datagrams apart.
func NewConn(sock io.ReadWriter) *Conn { return &Conn{sock} }

// Send sends one record; each is one datagram, so senders do not mix.
func (c *Conn) Send(r Record) error {
	b := r.Encode()
	_, err := c.sock.Write(b[:])
	return err
}

// Recv waits for the next record.
func (c *Conn) Recv() (Record, error) {
	buf := make([]byte, Size+1) // so that a longer one is seen to be longer
	n, err := c.sock.Read(buf)
	if err != nil {
		return Record{}, err
	}
	return Decode(buf[:n])
}

// Fail tells PID 1 why the child ends; PID 1 tells the people.
func (c *Conn) Fail(err error) error {
	return c.Send(Record{Kind: KindFailed, Code: codes.Of(err), Text: err.Error()})
}
