package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DefaultPath is the TPM behind the kernel's resource manager.
const DefaultPath = "/dev/tpmrm0"

// maxReply is TPM_BUFSIZE in drivers/char/tpm/tpm.h: no reply is longer.
const maxReply = 4096

// socketTimeout bounds one command to a software TPM; an RSA key takes one
// under emulation several seconds.
const socketTimeout = time.Minute

// Open opens a TPM: a device such as /dev/tpmrm0, or the Unix socket of a
// software TPM. A TPM that is not there is CodeAbsent.
func Open(path string) (*TPM, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, &Error{"opening " + path, CodeAbsent, err}
	}
	switch {
	case info.Mode()&os.ModeSocket != 0:
		return New(socket(path)), nil
	case info.Mode()&os.ModeCharDevice != 0:
		return openDevice(path)
	}
	return nil, &Error{"opening " + path, CodeAbsent, errors.New("neither a TPM device nor a socket")}
}

// openDevice uses a blocking descriptor: through Go's poller a read of
// /dev/tpmrm0 gives EOF before the answer is there.
func openDevice(path string) (*TPM, error) {
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &Error{"opening " + path, CodeAbsent, err}
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return New(&device{fd: fd}), nil
	}
	name := filepath.Base(real)
	t := NewAt(&device{fd: fd}, "/sys/class/tpm/"+strings.Replace(name, "tpmrm", "tpm", 1))
	t.managed = strings.HasPrefix(name, "tpmrm")
	return t, nil
}

// device is a TPM character device. After Close it is no other file, also for
// somebody who still uses it.
type device struct {
	mu sync.Mutex
	fd int // -1: closed
}

// Send writes a command in one write and reads its reply in one read, as
// drivers/char/tpm/tpm-dev-common.c wants it.
func (d *device) Send(command []byte) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return nil, fmt.Errorf("writing to the TPM: %w", os.ErrClosed)
	}
	if err := retryEINTR(func() error {
		n, err := syscall.Write(d.fd, command)
		if err == nil && n != len(command) {
			return io.ErrShortWrite
		}
		return err
	}); err != nil {
		return nil, fmt.Errorf("writing to the TPM: %w", err)
	}

	reply := make([]byte, maxReply)
	err := retryEINTR(func() error {
		n, err := syscall.Read(d.fd, reply)
		if err == nil {
			reply = reply[:n]
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading from the TPM: %w", err)
	}

	return reply, nil
}

// Close implements io.Closer.
func (d *device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	fd := d.fd
	if d.fd = -1; fd < 0 {
		return os.ErrClosed
	}
	return syscall.Close(fd)
}

func retryEINTR(f func() error) error {
	for {
		if err := f(); err != syscall.EINTR {
			return err
		}
	}
}

// socket is the Unix socket of a software TPM, which serves one connection
// at a time: one is made for each command, so that several programs can
// share it.
type socket string

func (s socket) Send(command []byte) ([]byte, error) {
	conn, err := net.DialTimeout("unix", string(s), socketTimeout)
	if err != nil {
		return nil, fmt.Errorf("connecting to the TPM: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(socketTimeout)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(command); err != nil {
		return nil, fmt.Errorf("writing to the TPM: %w", err)
	}
	return readReply(conn)
}

// readReply reads one reply: tag, size, response code, the rest (Part 1,
// section 18.10).
func readReply(r io.Reader) ([]byte, error) {
	reply := make([]byte, maxReply)
	if _, err := io.ReadFull(r, reply[:headerSize]); err != nil {
		return nil, fmt.Errorf("reading from the TPM: %w", err)
	}
	size := binary.BigEndian.Uint32(reply[2:])
	if size < headerSize || size > maxReply {
		return nil, fmt.Errorf("reading from the TPM: reply of %d bytes", size)
	}
	if _, err := io.ReadFull(r, reply[headerSize:size]); err != nil {
		return nil, fmt.Errorf("reading from the TPM: %w", err)
	}
	return reply[:size], nil
}
