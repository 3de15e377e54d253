package main

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
	"github.com/rogpeppe/go-internal/testscript"

	"latchkey/initramfs/uki"
	"latchkey/internal/pcr"
	"latchkey/unlock/tpm"
)

// setPassword gives a hierarchy of the software TPM the password "x".
func setPassword(socket, hierarchy string) error {
	handle, ok := map[string]tpm2.TPMHandle{"owner": tpm2.TPMRHOwner, "endorsement": tpm2.TPMRHEndorsement}[hierarchy]
	if !ok {
		return errors.New("there is no hierarchy " + hierarchy)
	}
	bus, err := linuxudstpm.Open(socket)
	if err != nil {
		return err
	}
	defer bus.Close()
	_, err = tpm2.HierarchyChangeAuth{AuthHandle: tpm2.AuthHandle{Handle: handle, Auth: tpm2.PasswordAuth(nil)}, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("x")}}.Execute(bus)
	return err
}

// lockOut puts the software TPM into lockout: it takes no wrong password at
// all (TPM2_DictionaryAttackParameters with newMaxTries 0: Part 3, section
// 25.3).
func lockOut(socket string) error {
	bus, err := linuxudstpm.Open(socket)
	if err != nil {
		return err
	}
	defer bus.Close()
	command := []byte{
		0x80, 0x02, 0, 0, 0, 39, 0, 0, 0x01, 0x3a, 0x40, 0, 0, 0x0a, // TPM_RH_LOCKOUT
		0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, // TPM_RS_PW
		0, 0, 0, 0, 0, 0, 0x03, 0xe8, 0, 0, 0x03, 0xe8, // no try; 1000 s twice
	}
	reply, err := bus.Send(command)
	if err == nil && (len(reply) < 10 || !bytes.Equal(reply[6:10], make([]byte, 4))) {
		err = fmt.Errorf("TPM2_DictionaryAttackParameters: % x", reply)
	}
	return err
}

// measureBoot extends PCR 11 as a boot does: systemd's stub of Debian 12
// measures the sections of the image, in its order (systemd-stub(7)), and the
// init its word. Without an image there is the word alone.
func measureBoot(dev *tpm.TPM, image string) error {
	extend := func(data []byte) error {
		digests := pcr.Measure(data)
		return dev.Extend(context.Background(), 11, digests.Of)
	}

	if image != "" {
		data, err := os.ReadFile(image)
		if err != nil {
			return err
		}
		sections, err := uki.Read(data)
		if err != nil {
			return err
		}
		for _, name := range []string{".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"} {
			for _, s := range sections {
				if s.Name != name {
					continue
				}
				if err := errors.Join(extend([]byte(name+"\x00")), extend(s.Data)); err != nil {
					return err
				}
			}
		}
	}
	return extend([]byte(pcr.EnterInitrd))
}

// cmdChip: chip start NAME sets $TPM, chip stop NAME, chip boot [IMAGE], chip
// latch, chip measure PCR, chip password HIERARCHY, chip lockout.
func cmdChip(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case len(args) == 2 && args[0] == "start":
		socket, err := labOf(ts).chip(args[1])
		ts.Check(err)
		ts.Setenv("TPM", socket)
	case len(args) == 2 && args[0] == "stop":
		ts.Check(labOf(ts).stop(args[1], syscall.SIGKILL))

	case (len(args) == 1 || len(args) == 2) && args[0] == "boot":
		dev, err := tpm.Open(ts.Getenv("TPM"))
		ts.Check(err)
		defer dev.Close()
		image := ""
		if len(args) == 2 {
			image = ts.MkAbs(args[1])
		}
		ts.Check(measureBoot(dev, image))
	case len(args) == 2 && args[0] == "password":
		ts.Check(setPassword(ts.Getenv("TPM"), args[1]))
	case len(args) == 1 && args[0] == "lockout":
		ts.Check(lockOut(ts.Getenv("TPM")))
	case len(args) == 1 && args[0] == "latch", len(args) == 2 && args[0] == "measure":
		n := 15
		if len(args) == 2 {
			var err error
			n, err = strconv.Atoi(args[1])
			ts.Check(err)
		}
		dev, err := tpm.Open(ts.Getenv("TPM"))
		ts.Check(err)
		defer dev.Close()
		ts.Check(dev.Extend(context.Background(), n, func(h crypto.Hash) []byte { return make([]byte, h.Size()) }))

	default:
		ts.Fatalf("usage: chip start NAME | stop NAME | boot [IMAGE] | latch | measure PCR | password HIERARCHY | lockout")
	}
}
