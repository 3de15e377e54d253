package wrapping

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

const nonceSize = 16

// Open opens a TPM: a device such as /dev/tpmrm0, or the Unix socket of a
// software TPM.
func Open(path string) (transport.TPMCloser, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("opening the TPM: %w", err)
	}

	if info.Mode().Type() == fs.ModeSocket {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return nil, fmt.Errorf("opening the TPM: %w", err)
		}
		conn.SetDeadline(time.Now().Add(time.Minute))
		return transport.FromReadWriteCloser(conn), nil
	}

	// A blocking descriptor: through Go's poller a read of /dev/tpmrm0 gives
	// EOF before the answer is there.
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the TPM %s: %w", path, err)
	}
	return transport.FromReadWriteCloser(os.NewFile(uintptr(fd), path)), nil
}

// A parent is the storage root key: the P-256 primary of the owner's
// hierarchy by TCG's template, so that it is the same each time.
type parent struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic
}

func newParent(bus transport.TPM) (*parent, error) {
	made, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(bus)
	if err != nil {
		return nil, fmt.Errorf("making the TPM's storage key: %w", err)
	}
	p := &parent{handle: made.ObjectHandle, name: made.Name}
	public, err := made.OutPublic.Contents()
	if err != nil {
		p.flush(bus)
		return nil, fmt.Errorf("making the TPM's storage key: %w", err)
	}
	p.public = *public
	return p, nil
}

func (p *parent) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: p.handle, Name: p.name, Auth: tpm2.PasswordAuth(nil)}
}

// salted keys a session to the storage key, so that nobody on the bus reads
// what it carries. When unsealing, the key's name was compared before.
func (p *parent) salted() tpm2.AuthOption { return tpm2.Salted(p.handle, p.public) }

func (p *parent) flush(bus transport.TPM) { tpm2.FlushContext{FlushHandle: p.handle}.Execute(bus) }

func selection(pcrs []int) tpm2.TPMLPCRSelection {
	bits := make([]byte, 3)
	for _, pcr := range pcrs {
		bits[pcr/8] |= 1 << (pcr % 8)
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: bits}}}
}

// policyNow is the digest of PolicyPCR over what the registers have now:
// Part 3, section 23.7.
func policyNow(bus transport.TPM, pcrs []int) ([]byte, error) {
	values := sha256.New()
	for _, pcr := range pcrs { // one by one: a TPM may answer for fewer than were asked
		read, err := tpm2.PCRRead{PCRSelectionIn: selection([]int{pcr})}.Execute(bus)
		if err != nil {
			return nil, fmt.Errorf("reading PCR %d: %w", pcr, err)
		}
		if len(read.PCRValues.Digests) != 1 {
			return nil, fmt.Errorf("reading PCR %d: the TPM has no SHA-256 bank", pcr)
		}
		values.Write(read.PCRValues.Digests[0].Buffer)
	}

	h := sha256.New()
	h.Write(make([]byte, 32))
	binary.Write(h, binary.BigEndian, tpm2.TPMCCPolicyPCR)
	h.Write(tpm2.Marshal(selection(pcrs)))
	h.Write(values.Sum(nil))
	return h.Sum(nil), nil
}
