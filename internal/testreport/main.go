// Testreport reads what "go test -json" writes and prints what a person
// wants of it: one line per package, the whole output of what failed, each
// skipped test with its reason. With -strict a skipped test is a failure
// unless the list of -allow names it.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	strict := flag.Bool("strict", os.Getenv("CI") == "true", "fail when a test was skipped that -allow does not name (default: CI=true)")
	allow := flag.String("allow", "", "`file` of tests that may be skipped")
	times := flag.String("times", "", "append the seconds of packages and scripts to this `file`")
	live := flag.Bool("live", false, "print the end of each test at once, not only of each package")
	flag.Parse()

	allowed, err := readAllowed(*allow)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(64)
	}
	r := newReport(os.Stdout, allowed, *live)
	err = r.read(os.Stdin)
	if err == nil && *times != "" {
		err = appendTimes(*times, r.times)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
	if !r.end(*strict) {
		os.Exit(1)
	}
}

func readAllowed(path string) ([]allowance, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return parseAllowed(string(text))
}

func appendTimes(path string, times []string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for _, line := range times {
		fmt.Fprintln(f, line)
	}
	return f.Close()
}
