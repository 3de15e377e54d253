// Package eventlogtest has logs that were recorded from real boots, and
// changes them as an attacker or an update would.
package eventlogtest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf16"

	"latchkey/kms/server/eventlog"
)

// Types of events that tests make.
const (
	Separator      = 0x00000004
	SCRTMVersion   = 0x00000008
	IPL            = 0x0000000d
	DriverConfig   = 0x80000001
	Application    = 0x80000003
	Authority      = 0x800000e0
	noAction       = 0x00000003
	headerSize     = 32 // of TCG_PCR_EVENT
	algSHA256      = 0x000b
	globalVariable = "\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c"
	imageSecurity  = "\xcb\xb2\x19\xd7\x3a\x3d\x96\x45\xa3\xbc\xda\xd0\x0e\x67\x65\x6f"
)

// An Event is one line of a log: what was measured, and what is said of it.
type Event struct {
	PCR    int
	Type   uint32
	Digest [32]byte
	Data   []byte
}

// A Log is one boot.
type Log struct {
	Events              []Event
	Kernel, CommandLine string
}

//go:embed testdata
var testdata embed.FS

// Raw is a recorded boot as it was: its log, and what it was held against.
func Raw(name string) eventlog.Evidence {
	packed, err := testdata.ReadFile("testdata/" + name + ".gz")
	must(err)
	z, err := gzip.NewReader(bytes.NewReader(packed))
	must(err)
	e := eventlog.Evidence{PCRs: map[int]eventlog.Digest{}}
	e.Log, err = io.ReadAll(z)
	must(err)

	facts, err := testdata.Open("testdata/" + name + ".txt")
	must(err)
	defer facts.Close()
	for s := bufio.NewScanner(facts); s.Scan(); {
		what, value, _ := strings.Cut(s.Text(), ": ")
		switch what {
		case "kernel":
			e.Kernel = value
		case "cmdline":
			e.CommandLine = value
		case "pcr":
			var pcr int
			var hex string
			_, err := fmt.Sscan(value, &pcr, &hex)
			must(err)
			var d eventlog.Digest
			must(d.UnmarshalText([]byte(hex)))
			e.PCRs[pcr] = d
		}
	}
	return e
}

// FileDigest is that of a file that a recorded boot read: vmlinuz or initrd.
func FileDigest(boot, file string) (d eventlog.Digest) {
	facts, err := testdata.ReadFile("testdata/" + boot + ".txt")
	must(err)
	for line := range strings.Lines(string(facts)) {
		if hex, ok := strings.CutPrefix(line, "file: "+file+" "); ok {
			must(d.UnmarshalText([]byte(strings.TrimSpace(hex))))
			return d
		}
	}
	panic("no file " + file + " in " + boot)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Recorded is a recorded boot, to be changed: plain, secure, grub, sdboot or
// direct, of Debian 12, and with a version of Debian 13.
func Recorded(name string) *Log {
	e := Raw(name)
	return &Log{Events: parse(e.Log), Kernel: e.Kernel, CommandLine: e.CommandLine}
}

// Parse reads a log, of which nothing else is known.
func Parse(log []byte) *Log { return &Log{Events: parse(log)} }

// parse takes the SHA-256 digests of a crypto-agile log.
func parse(b []byte) (events []Event) {
	b = b[headerSize+binary.LittleEndian.Uint32(b[28:]):]
	sizes := map[uint16]int{0x0004: 20, algSHA256: 32, 0x000c: 48, 0x000d: 64}
	for len(b) > 0 {
		e := Event{PCR: int(binary.LittleEndian.Uint32(b)), Type: binary.LittleEndian.Uint32(b[4:])}
		n := binary.LittleEndian.Uint32(b[8:])
		b = b[12:]
		for range n {
			alg := binary.LittleEndian.Uint16(b)
			if alg == algSHA256 {
				e.Digest = [32]byte(b[2:34])
			}
			b = b[2+sizes[alg]:]
		}
		size := binary.LittleEndian.Uint32(b)
		e.Data, b = bytes.Clone(b[4:4+size]), b[4+size:]
		events = append(events, e)
	}
	return events
}

// Encode is the log's bytes, with digests of SHA-256 only.
func (l *Log) Encode() []byte {
	spec := []byte("Spec ID Event03\x00\x00\x00\x00\x00\x00\x02\x00\x02\x01\x00\x00\x00\x0b\x00\x20\x00\x00")
	b := binary.LittleEndian.AppendUint32(nil, 0)
	b = binary.LittleEndian.AppendUint32(b, noAction)
	b = append(b, make([]byte, 20)...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(spec)))
	b = append(b, spec...)
	for _, e := range l.Events {
		b = binary.LittleEndian.AppendUint32(b, uint32(e.PCR))
		b = binary.LittleEndian.AppendUint32(b, e.Type)
		b = binary.LittleEndian.AppendUint32(b, 1)
		b = binary.LittleEndian.AppendUint16(b, algSHA256)
		b = append(b, e.Digest[:]...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Data)))
		b = append(b, e.Data...)
	}
	return b
}

// PCRs are what the log makes, and then the words of userspace's phases in
// PCR 11.
func (l *Log) PCRs(phases ...string) map[int]eventlog.Digest {
	pcrs := map[int]eventlog.Digest{}
	for _, pcr := range eventlog.Selection {
		pcrs[pcr] = eventlog.Digest{}
	}
	extend := func(pcr int, digest [32]byte) {
		old := pcrs[pcr]
		pcrs[pcr] = sha256.Sum256(append(old[:], digest[:]...))
	}
	for _, e := range l.Events {
		locality, ok := bytes.CutPrefix(e.Data, []byte("StartupLocality\x00"))
		switch {
		case e.Type != noAction:
			extend(e.PCR, e.Digest)
		case ok && len(locality) == 1: // profile 1.06, section 10.4.5.3
			pcrs[0] = eventlog.Digest{31: locality[0]}
		}
	}
	for _, word := range phases {
		extend(11, sha256.Sum256([]byte(word)))
	}
	return pcrs
}

// Evidence is the log with the PCRs that it makes.
func (l *Log) Evidence(phases ...string) eventlog.Evidence {
	return eventlog.Evidence{Log: l.Encode(), PCRs: l.PCRs(phases...), Kernel: l.Kernel, CommandLine: l.CommandLine}
}

// Summary reads the log.
func (l *Log) Summary() *eventlog.Summary {
	s, err := eventlog.Read(l.Evidence("enter-initrd"))
	must(err)
	return s
}

// Find is the index of the first event of a PCR and a type for which is
// says so.
func (l *Log) Find(pcr int, kind uint32, is func(Event) bool) int {
	i := slices.IndexFunc(l.Events, func(e Event) bool { return e.PCR == pcr && e.Type == kind && is(e) })
	if i < 0 {
		panic(fmt.Sprintf("no such event of PCR %d", pcr))
	}
	return i
}

// SetVariable gives one of Secure Boot's variables another content.
func (l *Log) SetVariable(name string, content []byte) {
	wide := utf16Of(name)
	i := l.Find(7, DriverConfig, func(e Event) bool { return bytes.HasPrefix(e.Data[32:], wide) && e.Data[16] == byte(len(name)) })
	l.Events[i] = Variable(DriverConfig, name, content)
}

// Variable returns one of Secure Boot's variables' content.
func (l *Log) Variable(name string) []byte {
	wide := utf16Of(name)
	i := l.Find(7, DriverConfig, func(e Event) bool { return bytes.HasPrefix(e.Data[32:], wide) && e.Data[16] == byte(len(name)) })
	return bytes.Clone(l.Events[i].Data[32+len(wide):])
}

// Variable makes an event of PCR 7 (UEFI_VARIABLE_DATA).
func Variable(kind uint32, name string, content []byte) Event {
	vendor := globalVariable
	if name == "db" || name == "dbx" {
		vendor = imageSecurity
	}
	data := binary.LittleEndian.AppendUint64([]byte(vendor), uint64(len(name)))
	data = binary.LittleEndian.AppendUint64(data, uint64(len(content)))
	data = append(append(data, utf16Of(name)...), content...)
	return Event{PCR: 7, Type: kind, Digest: sha256.Sum256(data), Data: data}
}

func utf16Of(s string) (b []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}
