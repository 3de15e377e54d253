package qemutests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"
)

var wordsRE = regexp.MustCompile(`this machine is "([a-z ]+)"`)

// enroll FILE.img [flags of latchkey volume enroll, or enroll-together if --of
// is among them]: enrolls the disk with
// the chip that "chip start" powered on, opened with FILE.key. The machine
// is approved on the way, as an operator does in another window; its boot
// state is not pinned, because it has not booted yet.
func cmdEnroll(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) < 1 {
		ts.Fatalf("usage: enroll FILE.img [flags]")
	}

	image, command := ts.MkAbs(args[0]), "enroll"
	if slices.Contains(args, "--of") {
		command = "enroll-together"
	}
	flags := append([]string{
		"volume", command, image, "--pin", w.pin(ts), "--tpm", ts.Getenv("TPM"),
		"--key-file", image[:len(image)-len(filepath.Ext(image))] + ".key", "--no-wait",
	}, args[1:]...)
	if !slices.Contains(args, "--kms") {
		flags = append(flags, "--kms", "http://192.0.2.1:7741")
	}
	for range 2 {
		out, err := w.lan.command(filepath.Join(w.shared.bin, "latchkey"), flags...).CombinedOutput()
		ts.Stdout().Write(out)
		if err == nil {
			if neg {
				ts.Fatalf("it was enrolled")
			}
			ts.Check(os.WriteFile(ts.MkAbs("enrolled"), out, 0o600))
			return
		}

		words := wordsRE.FindSubmatch(out)
		if neg {
			return
		}

		if words == nil {
			ts.Fatalf("enroll: %v: %s", err, out)
		}
		ts.Setenv("WORDS", string(words[1]))
		w.exec(ts, filepath.Join(w.shared.bin, "latchkey-kms"), "node", "approve", string(words[1]), "--pcr", "none", "--data", ts.Getenv("KMS_DATA"))
	}

	ts.Fatalf("enroll: it is still not approved")
}

// kcrypt ARGS…: Kairos' client of ours, in the LAN, with the chip that "chip
// start" powered on.
func cmdKcrypt(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	cmd := w.lan.command(filepath.Join(w.shared.bin, "kcrypt-discovery-challenger"), args...)
	cmd.Stderr = ts.Stderr()
	out, err := cmd.Output()
	ts.Stdout().Write(out)
	if neg != (err != nil) {
		ts.Fatalf("kcrypt-discovery-challenger: %v", err)
	}
}

// sealed FILE VARIABLE: the name of the secret that systemd-cryptenroll
// sealed last for the volume in FILE.
func cmdSealed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sealed FILE VARIABLE")
	}
	w := worldOf(ts)
	var report struct {
		Tokens []struct{ TPM2 struct{ Sealed string } }
	}
	ts.Check(json.Unmarshal([]byte(w.exec(ts, filepath.Join(w.shared.bin, "latchkey"), "volume", "inspect", "--json", ts.MkAbs(args[0]))), &report))
	for _, t := range report.Tokens {
		if t.TPM2.Sealed != "" {
			ts.Setenv(args[1], t.TPM2.Sealed)
		}
	}
}
