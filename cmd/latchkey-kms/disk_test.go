package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"latchkey/kms"
)

// tmpfsCommand: tmpfs DIR SIZE mounts a small file system there.
func tmpfsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: tmpfs DIR SIZE")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+args[1]))
	ts.Defer(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// fillCommand: fill FILE takes all the room that is left.
func fillCommand(ts *testscript.TestScript, neg bool, args []string) {
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	for size := 64 << 10; size >= 512; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else {
			ts.Check(err)
		}
	}
}

// starveCommand: starve MACHINE UUID N asks until it is no longer served,
// and wants as many releases in the audit log as there were, N of them
// before.
func starveCommand(ts *testscript.TestScript, neg bool, args []string) {
	tpm, rest, err := machineOf([]string{args[0], "get", args[1]})
	ts.Check(err)
	before, err := strconv.Atoi(args[2])
	ts.Check(err)
	served := before
	for ; err == nil; served++ {
		if served > 10_000 {
			ts.Fatalf("served 10,000 times from a full disk")
		}
		_, err = askAs(ts, tpm, rest)
	}

	served-- // the last one failed
	if code := codeOf(err); code != kms.CodeBusy {
		ts.Fatalf("on a full disk the machine got %s: %v, want busy", code, err)
	}

	ts.Check(ts.Exec("latchkey-kms", "audit", "show", "--data", ts.Getenv("DATA")))
	if noted := len(released.FindAllString(ts.ReadFile("stdout"), -1)); noted != served {
		ts.Fatalf("the machine was served %d times, and the audit log has %d releases", served, noted)
	}
}

// released is a release in the audit log.
var released = regexp.MustCompile(` get node="[0-9a-f]*" status="ok"`)

// httpCommand: http URL STATUS [TEXT] waits up to ten seconds for that status
// and that text, and
// prints the body.
func httpCommand(ts *testscript.TestScript, neg bool, args []string) {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		reply, err := anyServer.Get(args[0])
		ts.Check(err)
		body, err := io.ReadAll(reply.Body)
		reply.Body.Close()
		ts.Check(err)
		if fmt.Sprint(reply.StatusCode) == args[1] && (len(args) < 3 || strings.Contains(string(body), args[2])) {
			fmt.Fprint(ts.Stdout(), string(body))
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("GET %s = %s %s, want %s", args[0], reply.Status, body, args[1:])
		}
	}
}

// codeOf is the stable code of an error; "" if it has none.
func codeOf(err error) string {
	if coded, ok := errors.AsType[interface {
		error
		Code() string
	}](err); ok {
		return coded.Code()
	}
	return ""
}

// loopback is an address of this process alone, for a port that must be known
// before a server says which it has: all of 127.0.0.0/8 is this host.
func loopback() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 1+pid>>16&0x7f, pid>>8&0xff, pid&0xff)
}
