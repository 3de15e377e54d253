// Mutants switches rules off, one at a time, in a copy of the tree, and
// looks whether the test that is named with the rule fails. A mutant that
// survives is a promise that nobody keeps.
//
//	go run ./qemu-tests/mutants [WORD...]
//
// With words, only the mutants in whose line one of them stands.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A mutant is one change to the source, and who has to notice.
type mutant struct {
	rule     string // what is switched off; where it is promised
	file     string
	old, new string // the first old in the file becomes new
	pkg      string
	run      string // -run of go test
}

var mutants = slices.Concat(
	protocol,
	server,
	content,
	terms,
	node,
	kairosNode,
	ukis,
	operators,
	lvms,
	rootForms,
	mds,
	inners,
	bcaches,
	blocks,
	secure,
	ofTalos,
	released,
	installs,
	together,
	pins,
	ofAgent,
	mended,
	ofPage,
	ofReach, ofLinks,
	ofRecovery,
	paths,
	ofHistory,
	ofTang,
	ofWrapping, ofRekey, ofLobby,
	keys,
	ofSites,
	ofPresence,
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	failed, err := all(ctx, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func all(ctx context.Context, words []string) (failed int, err error) {
	dir, err := os.MkdirTemp("", "latchkey-mutants")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := copyTree(ctx, dir); err != nil {
		return 0, fmt.Errorf("copying the tree: %w", err)
	}

	counts := map[string]int{}
	for _, m := range mutants {
		if !m.named(words) {
			continue
		}
		began := time.Now()
		verdict := m.try(ctx, dir)
		if ctx.Err() != nil {
			return failed, ctx.Err()
		}
		counts[verdict]++
		if verdict != "killed" {
			failed++
		}
		fmt.Printf("%-9s %5.1fs  %-58s %s %s\n", verdict, time.Since(began).Seconds(), m.rule, m.pkg, m.run)
	}
	fmt.Println(counts)
	return failed, nil
}

func (m mutant) named(words []string) bool {
	line := m.rule + " " + m.file + " " + m.run
	for _, w := range words {
		if strings.Contains(line, w) {
			return true
		}
	}
	return len(words) == 0
}

// try applies the mutant, runs the test, and takes the mutant back.
func (m mutant) try(ctx context.Context, dir string) string {
	path := filepath.Join(dir, m.file)
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), m.old) {
		return "not found" // the source has moved on: mend the list
	}
	defer os.WriteFile(path, text, 0o644)
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o644); err != nil {
		return err.Error()
	}

	test := exec.CommandContext(ctx, "go", "test", "-vet=off", "-short", "-count=1", "-timeout=300s", "-run", m.run, m.pkg)
	test.Dir = dir
	out, err := test.CombinedOutput()
	switch {
	case strings.Contains(string(out), "[build failed]"), strings.Contains(string(out), "[setup failed]"):
		return "no build"
	case strings.Contains(string(out), "no tests to run"):
		return "no test"
	case err == nil:
		return "SURVIVED"
	case strings.Contains(string(out), "--- FAIL"), strings.Contains(string(out), "panic: "):
		return "killed"
	}
	return "failed"
}

// copyTree copies what git knows, as it stands here.
func copyTree(ctx context.Context, to string) error {
	list, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		b, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			return err
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, b, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}
