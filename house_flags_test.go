package latchkey_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"latchkey/internal/endpoint"
)

// production are the source files that are neither tests nor what tests use,
// with their text.
func production(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range goFiles(t) {
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "qemu-tests/") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = string(text)
	}
	return all
}

// TestListFlags: every flag that is a list is cli.List. Those of pflag read
// their text as CSV: a quote is an error in the middle of a word and nothing
// around one, and what follows a line break is dropped.
func TestListFlags(t *testing.T) {
	csv := regexp.MustCompile(`\.(Get)?StringSlice(Var)?P?\(`)
	lists := 0
	for path, text := range production(t) {
		if found := csv.FindString(text); found != "" {
			t.Errorf("%s has a flag by %s: take cli.List", path, found)
		}
		lists += strings.Count(text, "cli.List(&")
	}
	if lists < 15 {
		t.Errorf("%d flags are cli.List: is its form another?", lists)
	}
}

// TestKeyServerPort: help, messages and pages name the port that a key server
// has by default, wherever a responder's target or a URL of lk1 is an example.
func TestKeyServerPort(t *testing.T) {
	target := regexp.MustCompile(`(?:--target '?|such as |or |http://)(?:192\.0\.2\.\d+|\[2001:db8::5\]|kms\.local)?:(\d+)`)
	texts := pages(t)
	for path, text := range production(t) {
		if strings.HasPrefix(path, filepath.Join("cmd", "latchkey-responder")) || strings.HasPrefix(path, filepath.Join("cmd", "latchkey")+"/") {
			texts[path] = text
		}
	}

	seen := map[string]int{}
	for path, text := range texts {
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			seen[filepath.Base(path)]++
			if m[1] != strconv.Itoa(endpoint.DefaultPort) {
				t.Errorf("%s says %q, and the port of a key server is %d", path, m[0], endpoint.DefaultPort)
			}
		}
	}
	for _, path := range []string{"command.go", "target.go", "README.md", "operators.md", "enroll.go"} {
		if seen[path] == 0 {
			t.Errorf("%s has no example of a key server's address: is its form another?", path)
		}
	}
}
