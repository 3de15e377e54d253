package qemutests

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unicode/utf16"

	"github.com/rogpeppe/go-internal/testscript"
)

// Debian's OVMF has variables in which Secure Boot is on. The certificates
// that it trusts are replaced by those of the script.
const (
	ovmfPlain  = "/usr/share/OVMF/OVMF_VARS_4M.fd"
	ovmfSecure = "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"
	ovmfCode   = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
)

// firmware are QEMU's options for a machine that starts EFI programs of its
// own disks, the first that the firmware takes, as the removable-media path
// of UEFI 2.10, section 3.5.1.1 names it. The variables are fresh at each
// boot.
func (w *world) firmware(ts *testscript.TestScript, b bootSpec) []string {
	vars := filepath.Join(w.dir, "vars.fd")
	from := ovmfPlain
	if len(b.secure) > 0 {
		from = ovmfSecure
	}
	store, err := os.ReadFile(from)
	ts.Check(err)
	if len(b.secure) > 0 {
		var db []byte
		for _, file := range b.secure {
			list, err := signatureList(ts.MkAbs(file))
			ts.Check(err)
			db = append(db, list...)
		}
		store, err = setDB(store, db)
		ts.Check(err)
	}
	ts.Check(os.WriteFile(vars, store, 0o600))

	options := []string{
		"-global", "driver=cfi.pflash01,property=secure,value=on",
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + ovmfCode,
		"-drive", "if=pflash,format=raw,unit=1,file=" + vars,
	}
	if b.esp != "" {
		options = append(options, "-drive", "if=none,id=esp,format=raw,file=fat:rw:"+ts.MkAbs(b.esp), "-device", "virtio-blk-pci,drive=esp,bootindex=0")
	}
	for i, program := range b.ukis {
		esp := filepath.Join(w.dir, fmt.Sprint("esp", i))
		ts.Check(os.RemoveAll(esp))
		ts.Check(os.MkdirAll(filepath.Join(esp, "EFI/BOOT"), 0o755))
		w.exec(ts, "cp", ts.MkAbs(program), filepath.Join(esp, "EFI/BOOT/BOOTX64.EFI"))
		if b.beside != "" {
			w.exec(ts, "cp", "-r", ts.MkAbs(b.beside), filepath.Join(esp, "EFI/BOOT/BOOTX64.EFI.extra.d"))
		}
		options = append(options, "-drive", fmt.Sprintf("if=none,id=esp%d,format=raw,file=fat:rw:%s", i, esp),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=esp%d,bootindex=%d", i, i))
	}
	return options
}

// signatureList is an EFI_SIGNATURE_LIST with one certificate, a PEM file
// (UEFI 2.10, section 32.4.1).
func signatureList(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New(file + " is not PEM")
	}

	le := binary.LittleEndian
	list := []byte{0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72} // EFI_CERT_X509_GUID
	size := uint32(16 + len(block.Bytes))                                                                          // with the owner
	list = le.AppendUint32(list, 28+size)
	list = le.AppendUint32(list, 0) // no header
	list = le.AppendUint32(list, size)
	list = append(list, make([]byte, 16)...) // nobody's in particular
	return append(list, block.Bytes...), nil
}

// Offsets of AUTHENTICATED_VARIABLE_HEADER, in bytes
// (MdeModulePkg/Include/Guid/VariableFormat.h).
const (
	varState = 2
	varName  = 36 // size, then data's size and the GUID
	varData  = 40
	varHead  = 60

	varAdded, varDeleted = 0x3f, 0x3c
)

// setDB replaces what the firmware's variable db holds: the old variable is
// marked as deleted and a new one is written behind the last.
func setDB(store, value []byte) ([]byte, error) {
	le := binary.LittleEndian
	store = bytes.Clone(store)
	var name []byte
	for _, c := range utf16.Encode([]rune("db\x00")) {
		name = le.AppendUint16(name, c)
	}

	var old []byte
	at := int(le.Uint16(store[48:])) + 28 // the headers of volume and store
	for ; le.Uint16(store[at:]) == 0x55aa; at = (at + 3) &^ 3 {
		nameSize, dataSize := int(le.Uint32(store[at+varName:])), int(le.Uint32(store[at+varData:]))
		if v := store[at : at+varHead+nameSize]; v[varState] == varAdded && bytes.Equal(v[varHead:], name) {
			old = bytes.Clone(v)
			v[varState] = varDeleted
		}
		at += varHead + nameSize + dataSize
	}
	if old == nil || le.Uint16(store[at:]) != 0xffff {
		return nil, errors.New("the firmware's variables have no db, or no free space")
	}

	le.PutUint32(old[varData:], uint32(len(value)))
	copy(store[at:], old)
	copy(store[at+len(old):], value)
	return store, nil
}
