// Package wire is what PID 1 and its children, the worker and the latch,
// say to each other. PID 1 believes nothing of it but what Decode checks.
package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"latchkey/internal/kmsg"
	"latchkey/internal/pcr"
)

// Size is the size of every message between PID 1 and its children, in
// bytes: one datagram of a SOCK_SEQPACKET socket.
const Size = 832

// Likely are the PCRs that key servers ask for: firmware policy, what was
// booted and the latch, and what releases name besides. A TPM reads eight by
// one command.
var Likely = [7]int{4, 7, 8, 9, 11, 12, 15}

// Silence is how long a child may say nothing before it is taken for hung.
const Silence = 60 * time.Second

// A Kind says what a Record tells.
type Kind uint8

// What the worker tells PID 1, what the latch tells it, and what PID 1
// tells them.
const (
	KindAlive       Kind = iota + 1 // still at work
	KindStep                        // Name took Duration from Start on; Code is "" if it went well
	KindWaiting                     // Code: going on, but people should know why it takes time
	KindOpened                      // volume Name is mapped by source Text; Digests are its measurement for PCR 15, Slot its keyslot
	KindRoot                        // the root is mapping Name with file system Text
	KindSwap                        // a hibernated system may be in mapping Name, which holds Text
	KindUsr                         // /usr is mapping Name with file system Text
	KindOverlay                     // what is written to the root goes to mapping Name with file system Text
	KindClosed                      // volume Name stays closed, Code and Text say why: the boot goes on without it
	KindDone                        // all volumes are open that the boot needs
	KindFailed                      // Code and Text: the child ends
	KindWantCiphers                 // the disks had their turn: the modules that every boot needs may load
	KindExtending                   // about to extend PCR from Old to New
	KindExtended                    // it holds New now; Text names the banks that the TPM has on, Held what was read
	KindEntered                     // to the worker: the TPM may be used, Held is what the latch read; Code if there is none
	KindCiphers                     // to the worker: those modules are loaded
	KindExtend                      // to the latch: extend PCR with Digests
	KindResume                      // to the latch: this one was under way, from Old to New
	KindGo                          // to the latch: yes, extend
	kindEnd
)

// A Record is one message. Texts are printable ASCII after decoding, so
// nobody who can make the worker say something can write to a terminal.
type Record struct {
	Kind     Kind
	PCR      uint8
	Slot     uint8
	Code     string        // at most 31 bytes
	Name     string        // at most 63 bytes
	Text     string        // at most 255 bytes, longer ones are cut
	Start    time.Duration // since the kernel started (CLOCK_BOOTTIME)
	Duration time.Duration
	Old, New [32]byte // what a PCR holds, SHA-256 bank
	Digests  pcr.Digests
	Held     [len(Likely)][32]byte // what those of Likely hold, SHA-256 bank; all zero: not told
}

// Offsets of the fields, in bytes. Texts have a length byte in front.
const (
	atCode  = 4
	atName  = atCode + 32
	atText  = atName + 64
	atStart = atText + 256
	atTook  = atStart + 8
	atOld   = atTook + 8
	atNew   = atOld + 32
	at1     = atNew + 32 // Digests
	at256   = at1 + 20
	at384   = at256 + 32
	at512   = at384 + 48
	atHeld  = at512 + 64
	atEnd   = atHeld + 32*len(Likely)
)

// Encode writes the record's fixed form.
func (r Record) Encode() [Size]byte {
	var b [Size]byte
	b[0], b[1], b[2] = byte(r.Kind), r.PCR, r.Slot
	putText(b[atCode:atName], r.Code)
	putText(b[atName:atText], r.Name)
	putText(b[atText:atStart], r.Text)
	binary.LittleEndian.PutUint64(b[atStart:], uint64(r.Start))
	binary.LittleEndian.PutUint64(b[atTook:], uint64(r.Duration))
	copy(b[atOld:], r.Old[:])
	copy(b[atNew:], r.New[:])
	copy(b[at1:], r.Digests.SHA1[:])
	copy(b[at256:], r.Digests.SHA256[:])
	copy(b[at384:], r.Digests.SHA384[:])
	copy(b[at512:], r.Digests.SHA512[:])
	for i := range r.Held {
		copy(b[atHeld+32*i:], r.Held[i][:])
	}
	return b
}

// Decode reads one message. An error means that the other side is
// not what we started: it is killed.
func Decode(b []byte) (Record, error) {
	if len(b) != Size || b[0] == 0 || Kind(b[0]) >= kindEnd {
		return Record{}, fmt.Errorf("reading a record: %d bytes of kind %d", len(b), append(b, 0)[0])
	}
	r := Record{
		Kind: Kind(b[0]), PCR: b[1], Slot: b[2],
		Code: getText(b[atCode:atName]), Name: getText(b[atName:atText]), Text: getText(b[atText:atStart]),
		Start:    time.Duration(binary.LittleEndian.Uint64(b[atStart:])),
		Duration: time.Duration(binary.LittleEndian.Uint64(b[atTook:])),
		Old:      [32]byte(b[atOld:atNew]), New: [32]byte(b[atNew:at1]),
		Digests: pcr.Digests{SHA1: [20]byte(b[at1:at256]), SHA256: [32]byte(b[at256:at384]), SHA384: [48]byte(b[at384:at512]), SHA512: [64]byte(b[at512:atHeld])},
	}
	for i := range r.Held {
		r.Held[i] = [32]byte(b[atHeld+32*i : atEnd])
	}
	if r.PCR > 23 {
		return Record{}, fmt.Errorf("reading a record: there is no PCR %d", r.PCR)
	}
	return r, nil
}

func putText(field []byte, s string) {
	n := min(len(s), len(field)-1)
	field[0] = byte(n)
	copy(field[1:], s[:n])
}

func getText(field []byte) string {
	n := min(int(field[0]), len(field)-1)
	return kmsg.Clean(string(field[1 : 1+n]))
}

// Extended is what a PCR of the SHA-256 bank holds after TPM2_PCR_Extend:
// TPM 2.0 Library, part 1, section 17.2.
func Extended(old, digest [32]byte) [32]byte {
	return sha256.Sum256(append(old[:], digest[:]...))
}
