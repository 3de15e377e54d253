package qemutests

import (
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"latchkey/unlock/bcache/bcachetest"
	"latchkey/unlock/md/mdtest"
)

// programs FILE PROGRAM…: FILE is the tiny root, an ext4 of 40 MiB, with
// these programs of a newer Debian in it.
func cmdPrograms(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: programs FILE PROGRAM…")
	}
	w := worldOf(ts)
	image := w.withPrograms(ts, w.shared.debian(ts, filepath.Join(w.shared.bin, "../images")), args[1:]...)
	ts.Check(os.Rename(image, ts.MkAbs(args[0])))
}

// mirror DISK ONE TWO: ONE and TWO are the halves of an array of RAID 1, with
// superblocks 1.0 at the end, that holds what DISK does.
func cmdMirror(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: mirror DISK ONE TWO")
	}
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	for i, name := range args[1:] {
		m := mdtest.Member{Version: "1.0", Name: "till:boot", Level: 1, Places: 2, Number: i, Events: 17, Made: 1700000000, Data: data}
		ts.Check(os.WriteFile(ts.MkAbs(name), m.Device(), 0o644))
	}
}

// behind DISK BACKING CACHE: BACKING is what holds DISK behind a writeback
// cache of bcache, and CACHE the cache, which is empty.
func cmdBehind(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: behind DISK BACKING CACHE")
	}
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	for i, d := range []bcachetest.Device{
		{Version: 1, UUID: 1, State: bcachetest.Clean, Mode: 1, Data: data},
		{Version: 3, UUID: 2, Bytes: 64 << 20},
	} {
		ts.Check(os.WriteFile(ts.MkAbs(args[1+i]), d.Device(), 0o644))
	}
}
