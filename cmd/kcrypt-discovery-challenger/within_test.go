package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mute listens as a software TPM that never answers, and calls asked when it
// is asked first.
func mute(t *testing.T, asked func()) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "tpm.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		asked()
		io.Copy(io.Discard, conn)
	}()
	return path
}

// A signal ends it, though the TPM never answers and standard input stays
// open: the event was answered when it was whole.
func TestSignal(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "kcrypt-discovery-challenger")
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name           string
		args           []string
		signal         syscall.Signal
		code           int
		stdout, stderr string
	}{
		{"an event", []string{"discovery.password"}, syscall.SIGTERM, 0, `{"state":"","data":"","error":"interrupted","log":""}` + "\n", ""},
		{"get", []string{"get", "--partition-label", "a"}, syscall.SIGINT, 1, "", "kcrypt-discovery-challenger: interrupted\n"},
		{"the hash", nil, syscall.SIGTERM, 1, "", "kcrypt-discovery-challenger: interrupted\n"},
		{"info", []string{"info"}, syscall.SIGTERM, 1, "", "kcrypt-discovery-challenger: interrupted\n"},
	} {
		asked := make(chan struct{})
		oem := t.TempDir()
		device := mute(t, func() { close(asked) })
		if err := os.WriteFile(filepath.Join(oem, "a.yaml"), []byte("#cloud-config\nkcrypt: {tpm_device: "+device+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, row.args...)
		cmd.Env = append(os.Environ(), "OEM="+oem, "CMDLINE="+oem+"/none", "WSS_SERVER=http://192.0.2.5")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// No end of it follows.
		io.WriteString(in, `{"name":"discovery.password","data":"{\"label\":\"COS_OEM\"}"}`)
		<-asked
		cmd.Process.Signal(row.signal)
		cmd.Wait()
		in.Close()
		if code := cmd.ProcessState.ExitCode(); code != row.code || out.String() != row.stdout || errs.String() != row.stderr {
			t.Errorf("%s: exit %d, %q, %q, want %d, %q, %q", row.name, code, out.String(), errs.String(), row.code, row.stdout, row.stderr)
		}
	}
}

// A TPM that never answers, and an event that never becomes whole, have their
// time.
func TestStuck(t *testing.T) {
	short := limits{event: time.Millisecond, tpm: time.Millisecond, attempt: time.Minute, ending: time.Millisecond}
	var out bytes.Buffer
	in, end := io.Pipe()
	defer end.Close()
	o := &options{stdin: in, stdout: &out, stderr: io.Discard, limits: short, getenv: func(string) string { return "" }, device: mute(t, func() {})}
	if err := o.hash(t.Context()); err == nil || !strings.Contains(err.Error(), "tpm.sock: no answer for 1ms") || out.Len() > 0 {
		t.Errorf("hash = %v and %q, want an error", err, out.String())
	}
	if err := o.event(t.Context()); err != nil || !strings.Contains(out.String(), `"error":"reading the event: no whole event came on standard input: no answer for 1ms"`) {
		t.Errorf("event = %v and %q, want an error in the answer", err, out.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out.Reset()
	if err := o.event(ctx); err != nil || !strings.Contains(out.String(), `"error":"interrupted"`) {
		t.Errorf("event = %v and %q, want the interruption in the answer", err, out.String())
	}
}

// What is wrong with JSON is said in words.
func TestDecode(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "it is empty, want a JSON object",
		`{"name":`:                 "it ends before its JSON object does",
		"nonsense":                 "it is no JSON from byte 2 on",
		`{"name":5}`:               `its "name" is a number, want a text`,
		`[1]`:                      "it is JSON, but a list instead of an object",
		strings.Repeat(" ", 1<<20): "it has 1048576 bytes or more",
	} {
		if err := decode(strings.NewReader(text), &event{}); err == nil || err.Error() != want {
			t.Errorf("decode(%.20q) = %v, want %q", text, err, want)
		}
	}
	if err := decode(strings.NewReader(`{"mdns":"x"}`), &payload{}); err == nil || err.Error() != `its "mdns" is a text, want true or false` {
		t.Errorf("decode = %v", err)
	}
}
