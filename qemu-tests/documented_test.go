package qemutests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"latchkey/internal/docexample"
)

// documented [-stdin FILE | -write FILE] PAGE TEXT [OLD NEW]…: does what a page
// of docs says: its one block with this text is run in Debian on the LAN's host
// side, where latchkey is and the script's folder is the current one, or is
// written. Only what a script cannot have is another: NEW instead of OLD.
func cmdDocumented(ts *testscript.TestScript, neg bool, args []string) {
	option, file := "", ""
	if len(args) > 2 && (args[0] == "-stdin" || args[0] == "-write") {
		option, file = args[0], ts.MkAbs(args[1])
		args = args[2:]
	}
	if neg || len(args) < 2 || len(args)%2 != 0 {
		ts.Fatalf("usage: documented [-stdin FILE | -write FILE] PAGE TEXT [OLD NEW]…")
	}
	block := blockOf(ts, args[0], args[1])
	for i := 2; i < len(args); i += 2 {
		if !strings.Contains(block, args[i]) {
			ts.Fatalf("%s: the block with %q has no %q", args[0], args[1], args[i])
		}
		block = strings.ReplaceAll(block, args[i], args[i+1])
	}
	if option == "-write" {
		ts.Check(os.WriteFile(file, []byte(block), 0o644))
		return
	}

	w := worldOf(ts)
	w.exec(ts, "mkdir", "-p", "bin")
	w.exec(ts, "cp", "--no-clobber", filepath.Join(w.shared.bin, "latchkey"), "bin")
	cmd := w.debian("sh", "-exc", "cd /tmp; PATH=/tmp/bin:$PATH\n"+block)
	if option == "-stdin" {
		f, err := os.Open(file)
		ts.Check(err)
		defer f.Close()
		cmd.Stdin = f
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		ts.Fatalf("%s: %v\n%s", args[0], err, out)
	}
	fmt.Fprintf(ts.Stdout(), "%s", out)
}

// blockOf is a page's one block that has this text.
func blockOf(ts *testscript.TestScript, page, text string) string {
	data, err := os.ReadFile(filepath.Join("..", page))
	ts.Check(err)
	blocks, err := docexample.Split(page, string(data))
	ts.Check(err)
	found := ""
	for _, b := range blocks {
		if strings.Contains(b.Text, text) {
			if found != "" {
				ts.Fatalf("%s has more than one block with %q", page, text)
			}
			found = b.Text
		}
	}
	if found == "" {
		ts.Fatalf("%s has no block with %q", page, text)
	}
	return found
}
