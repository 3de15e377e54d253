package qemutests

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// memory FILE: a copy of all of the machine's memory, as it is now.
func cmdMemory(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) != 1 || w.machine == nil {
		ts.Fatalf("usage: memory FILE, after boot")
	}
	ts.Check(w.qmp(map[string]any{
		"execute":   "dump-guest-memory",
		"arguments": map[string]any{"paging": false, "protocol": "file:" + filepath.Join(w.dir, args[0])},
	}))
}

// mashed are the keys that somebody who looks for a shell tries, by QEMU's
// names. Delete is not among them: QEMU's queue of 16 scan codes drops the
// ends of keys when it is full, so Ctrl and Alt may still be down when Delete
// comes, and Ctrl-Alt-Delete reboots a machine that has not come up, as a
// person there wants it.
var mashed = strings.Fields("ret spc esc tab f1 f2 f3 f8 f10 f12 a b c d e i s h u o r y q 0 1 9 slash minus ctrl alt shift pause insert home")

// mash N: N keys pressed on the keyboard, and about as many bytes on the
// serial console: escapes, interrupts, and commands that a shell would do.
func cmdMash(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	var n int
	if len(args) != 1 || w.machine == nil {
		ts.Fatalf("usage: mash NUMBER, after boot")
	}

	if _, err := fmt.Sscan(args[0], &n); err != nil {
		ts.Fatalf("mash: %v", err)
	}
	const line = "\x03\x04\x1a\x1c\x1b[A\x1bOP\r\nid\necho $((6*7))mash\nsh\nrd.break\n\x00\xff"
	text := strings.Repeat(line, n/len(line)+1)
	if _, err := w.machine.keys.Write([]byte(text)); err != nil {
		ts.Fatalf("typing: %v", err)
	}

	for i := range n {
		key := mashed[i%len(mashed)]
		var events []any
		for _, down := range []bool{true, false} {
			events = append(events, map[string]any{"type": "key", "data": map[string]any{"down": down, "key": map[string]any{"type": "qcode", "data": key}}})
		}
		ts.Check(w.qmp(map[string]any{"execute": "input-send-event", "arguments": map[string]any{"events": events}}))
	}

	fmt.Fprintf(ts.Stdout(), "%d keys pressed, %d bytes typed\n", n, len(text))
}
