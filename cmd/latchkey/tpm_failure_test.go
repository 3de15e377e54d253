package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/tpm"
)

// failureResponse is TPM_RC_FAILURE without anything: Part 3, section 5.2.
var failureResponse = []byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x01}

// A failingChip is a TPM that goes into failure mode when it is told to.
type failingChip struct {
	transport.TPM
	failed bool
}

func (c *failingChip) Send(in []byte) ([]byte, error) {
	if c.failed {
		return failureResponse, nil
	}
	return c.TPM.Send(in)
}

// hear collects what an enrollment says to people.
func (b *bench) hear(e *enrollment) *string {
	said := new(string)
	e.say = func(format string, args ...any) { *said += fmt.Sprintf(format, args...) + "\n" }
	return said
}

// A TPM in failure mode is called that; what it answers about itself is not
// taken for a diagnosis.
func TestInfoOfAFailedTPM(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "tpm")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			for in := make([]byte, 4096); err == nil; {
				if _, err = c.Read(in); err == nil {
					_, err = c.Write(failureMode(in))
				}
			}
			c.Close()
		}
	}()

	var out bytes.Buffer
	c := tpmInfoCommand()
	c.SetArgs([]string{"--tpm", socket})
	c.SetOut(&out)
	c.SetErr(io.Discard)
	c.SilenceErrors, c.SilenceUsage = true, true
	if err := c.Execute(); !errors.Is(err, tpm.ErrFailureMode) || !strings.HasPrefix(err.Error(), "tpm-failed: ") {
		t.Errorf("tpm info = %v, want tpm-failed, and failure mode", err)
	}
	if want := "problem: " + tpm.ErrFailureMode.Error() + "\n"; out.String() != want {
		t.Errorf("tpm info printed %q, want %q", out.String(), want)
	}
	l.Close()
	<-ended
}

// failureMode answers as the specification's code does: properties are 0 or
// what the maker gave, all else fails (Part 4, TpmFail.c).
func failureMode(in []byte) []byte {
	if cc := tpm2.TPMCC(uint32(in[8])<<8 | uint32(in[9])); cc != tpm2.TPMCCGetCapability || in[13] != byte(tpm2.TPMCapTPMProperties) {
		return failureResponse
	}
	const size = 10 + 1 + 4 + 4 + 8
	return append([]byte{0x80, 0x01, 0, 0, 0, size, 0, 0, 0, 0, 0, 0, 0, 0, byte(tpm2.TPMCapTPMProperties), 0, 0, 0, 1}, append(in[14:18:18], 0, 0, 0, 0xff)...)
}

// An enrollment does not ask again while its TPM can prove nothing.
func TestEnrollWithAFailedTPM(t *testing.T) {
	b := newBench(t)
	_, e := b.volume("vol")
	socket, err := b.chip("another")
	b.check(err)
	bus, err := linuxudstpm.Open(socket)
	b.check(err)
	chip := &failingChip{TPM: bus}
	dev := tpm.New(chip)
	defer dev.Close()
	id, err := dev.Identify(t.Context(), tpm.Options{})
	b.check(err)
	defer id.Close()
	e.id = id
	said := b.hear(e)
	chip.failed = true
	offer := kms.Offer{Kind: kms.Static, Secret: secret.Random(32)}
	if err := e.put(t.Context(), offer); !errors.Is(err, tpm.ErrFailureMode) || *said != "" {
		t.Errorf("put = %v, and it said %q; want failure mode, at once", err, *said)
	}
	e.wait = true
	if err := e.register(t.Context()); !errors.Is(err, tpm.ErrFailureMode) || *said != "" {
		t.Errorf("register = %v, and it said %q; want failure mode, at once", err, *said)
	}
}
