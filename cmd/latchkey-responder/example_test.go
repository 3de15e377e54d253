package main

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"

	"latchkey/internal/testlan"
)

// commands takes the command lines out of a text: lines that begin with the
// command, joined where a backslash ends them.
func commands(text string) [][]string {
	var out [][]string
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		words := strings.Fields(strings.ReplaceAll(line, "'", ""))
		if len(words) > 0 && words[0] == "latchkey-responder" {
			out = append(out, words[1:])
		}
	}
	return out
}

// Every example of --help, and the manifest's container, is run as it stands
// and answers.
func TestExamples(t *testing.T) {
	all := commands(example)
	if len(all) < 6 {
		t.Fatalf("%d examples in --help, want 6", len(all))
	}
	all = append(all, manifestArgs(t))
	l := newLAN(t, byName)
	l.Connect("wire", "eth1")
	l.Run("sh", "-c", "mount -t tmpfs tmpfs /etc && mkdir /etc/latchkey && echo 'kms.local 192.0.2.5:8443' > /etc/latchkey/targets")
	listener, err := net.Listen("tcp", "192.0.2.10:0")
	if err != nil {
		t.Fatal(err)
	}

	a := newAPI(t, listener)
	a.object = strings.ReplaceAll(kubeService("LoadBalancer", "", `{"ip":"192.0.2.5"}`), `"kms"`, `"latchkey-kms"`)
	proxy(t, l, netip.MustParseAddrPort(listener.Addr().String()).Port())
	a.account(t, l.File("/run/secrets/kubernetes.io/serviceaccount"))
	for _, args := range all {
		if args[0] == "status" {
			continue // run by TestHealth, beside a responder
		}
		t.Run(strings.Join(args, " "), func(t *testing.T) { runs(t, l, args) })
	}
}

// runs starts the responder, waits until it answers, and stops it.
func runs(t *testing.T, l lan, args []string) {
	t.Helper()
	log := &buffer{}
	cmd := l.Command("env", responder(t, pod, args...)...)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	testlan.Await(t, "the start of "+strings.Join(args, " "), func() bool { return strings.Contains(log.String(), "answering multicast DNS") })
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil || !strings.Contains(log.String(), "stopped") {
		t.Errorf("after SIGTERM: %v\n%s", err, log.String())
	}
}

// manifestArgs reads the arguments of images/kubernetes/responder.yaml.
func manifestArgs(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../images/kubernetes/responder.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var last struct {
		Spec struct {
			Template struct {
				Spec struct {
					HostNetwork bool `yaml:"hostNetwork"`
					Containers  []struct {
						Args []string `yaml:"args"`
					} `yaml:"containers"`
				} `yaml:"spec"`
			} `yaml:"template"`
		} `yaml:"spec"`
	}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		if strings.Contains(document, "kind: DaemonSet") {
			if err := yaml.Unmarshal([]byte(document), &last); err != nil {
				t.Fatal(err)
			}
		}
	}

	pod := last.Spec.Template.Spec
	if !pod.HostNetwork || len(pod.Containers) != 1 {
		t.Fatalf("the manifest has %+v, want one container on the host's network", pod)
	}
	return pod.Containers[0].Args
}

// Long text of --help fits a terminal.
func TestHelpWidth(t *testing.T) {
	for line := range strings.Lines(long + "\n" + example) {
		if n := len(strings.TrimRight(line, "\n")); n > 84 {
			t.Errorf("a line of --help has %d columns: %s", n, line)
		}
	}
	var out bytes.Buffer
	cmd := exec.Command("env", responder(t, nil, "status", "--help")...)
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "Exits 1 if nothing is announced") {
		t.Errorf("status --help: %v, %s", err, out.String())
	}
}
