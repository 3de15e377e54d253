package qemutests

import (
	"encoding/binary"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"latchkey/unlock/tpm/tpmtest"
)

// slowChip stands between QEMU and a software TPM, whose control socket is at
// ctrl, until QEMU ends: it takes the place of the socket for commands, which
// QEMU hands over (CMD_SET_DATAFD in swtpm's tpm_ioctl.h), and leaves the
// control channel as it is.
func slowChip(listen, ctrl string, chip *tpmtest.Chip) error {
	os.Remove(listen)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: listen, Net: "unix"})
	if err != nil {
		return err
	}
	go func() {
		defer l.Close()
		qemu, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer qemu.Close()
		to, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: ctrl, Net: "unix"})
		if err != nil {
			return
		}
		defer to.Close()
		go func() { io.Copy(qemu, to); qemu.Close() }()
		control(qemu, to, chip)
	}()
	return nil
}

func control(qemu, swtpm *net.UnixConn, chip *tpmtest.Chip) {
	message, passed := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := qemu.ReadMsgUnix(message, passed)
		if err != nil || n == 0 {
			return
		}
		oob, err := instead(passed[:oobn], chip)
		if err != nil {
			return
		}
		if _, _, err := swtpm.WriteMsgUnix(message[:n], oob, nil); err != nil {
			return
		}
	}
}

// instead takes the socket that QEMU hands over, and hands over one of ours.
func instead(passed []byte, chip *tpmtest.Chip) ([]byte, error) {
	if len(passed) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(passed)
	if err != nil {
		return nil, err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	go serveChip(os.NewFile(uintptr(fds[0]), "qemu"), os.NewFile(uintptr(pair[0]), "swtpm"), os.NewFile(uintptr(pair[1]), "handed over"), chip)
	return unix.UnixRights(pair[1]), nil
}

// serveChip answers commands. The descriptor that was handed over stays open here
// until then: it is on its way.
func serveChip(qemu, swtpm, theirs *os.File, chip *tpmtest.Chip) {
	defer qemu.Close()
	defer swtpm.Close()
	defer theirs.Close()
	for {
		command, err := readMessage(qemu)
		if err != nil {
			return
		}
		reply, err := chip.Answer(command, func(b []byte) ([]byte, error) {
			if _, err := swtpm.Write(b); err != nil {
				return nil, err
			}
			return readMessage(swtpm)
		})
		if err != nil {
			return
		}
		if _, err := qemu.Write(reply); err != nil {
			return
		}
	}
}

// readMessage reads a command or a reply: both have their size behind two
// bytes (Part 1, section 18.10).
func readMessage(r io.Reader) ([]byte, error) {
	b := make([]byte, 10)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(b[2:])
	if size < 10 || size > 4096 {
		return nil, io.ErrUnexpectedEOF
	}
	b = append(b, make([]byte, size-10)...)
	_, err := io.ReadFull(r, b[10:])
	return b, err
}
