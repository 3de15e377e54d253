package main

import (
	"crypto"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/boot/codes"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/source/together"
	"latchkey/unlock/tpm"
)

const partOfStick = "what is in a file on a stick, 32b"

// together begins an enrollment of a new volume. The TPM has one user at a
// time here.
func (b *bench) together(name string, ways ...[]string) (string, *togetherEnrollment) {
	b.t.Helper()
	socket := filepath.Join(b.dir, "chip.sock")
	id, done, err := openIdentity(b.t.Context(), socket)
	b.check(err)
	defer done()
	b.id = id
	path, e := b.volume(name)
	e.mode = kms.Static
	t := &togetherEnrollment{enrollment: e, tpmPath: socket, ways: ways, request: cryptenroll.Request{PCRs: []int{7}}}
	t.parts = map[string]secret.Bytes{together.KMS: secret.Random(32), together.KeyFile: secret.Own([]byte(partOfStick))}
	return path, t
}

// cut runs the writes until the power is gone.
func (b *bench) cut(path string, t *togetherEnrollment, writes int) error {
	b.t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	b.check(err)
	defer f.Close()
	done, err := t.openChip(b.t.Context())
	b.check(err)
	defer done()
	return t.commit(b.t.Context(), &cutDisk{f, writes}, 2<<20)
}

// opensTogether opens the volume by its plan, as a boot does.
func (b *bench) opensTogether(path, sources string) (*opened, string, error) {
	b.t.Helper()
	return b.open(openVolume{kms: b.url, plan: b.plan(path, sources, "")}, path, "")
}

var kmsAndTPM = []string{together.KMS, together.TPM}

// A cut before any write leaves the operator's key, and nothing in the KMS
// that does not open with the TPM; running it again ends well.
func TestPowerCutWhileEnrollingTogether(t *testing.T) {
	b := newBench(t)
	const sources = "{need: 2, of: [kms, systemd-tpm2]}"
	for writes := range 100 {
		path, e := b.together("vol", kmsAndTPM)
		err := b.cut(path, e, writes)
		b.opensWithKey(path)
		got, _, openErr := b.opensTogether(path, sources)
		if err == nil && got == nil {
			t.Fatalf("after %d writes: done, but the machine would not boot: %v", writes, openErr)
		}
		if got == nil {
			e.made = nil
			if err := b.cut(path, e, 1000); err != nil {
				t.Fatalf("after %d writes, again: %v", writes, err)
			}
			if got, _, err := b.opensTogether(path, sources); got == nil {
				t.Errorf("after %d writes and again: %v", writes, err)
			}
		}
		slots, tokens := slotsOf(t, path)
		if slots != 2 || tokens != 1 {
			t.Errorf("after %d writes: %d keyslots and %d tokens are left, want the operator's and ours", writes, slots, tokens)
		}
		if err == nil {
			t.Logf("an enrollment is %d writes", writes)
			return
		}
	}
	t.Error("no enrollment came to its end")
}

// TestEnrollTogetherRefused: a KMS that has a key for the volume takes no
// part, and the keyslots are gone again.
func TestEnrollTogetherRefused(t *testing.T) {
	b := newBench(t)
	path, e := b.volume("vol")
	_, err := b.commit(path, e, 1000)
	b.check(err)
	_, other := b.together("other", kmsAndTPM, []string{together.KeyFile, together.KMS})
	other.enrollment = e
	if err := b.cut(path, other, 1000); codes.Of(err) != kms.Exists.Code() {
		t.Errorf("commit = %v, want code exists", err)
	}
	if slots, tokens := slotsOf(t, path); slots != 2 || tokens != 1 {
		t.Errorf("%d keyslots and %d tokens, want none of this run", slots, tokens)
	}
}

// TestOpenTogether: what two of three sources open, and what one does not.
func TestOpenTogether(t *testing.T) {
	b := newBench(t)
	path, e := b.together("vol", []string{together.KMS, together.TPM}, []string{together.KeyFile, together.TPM}, []string{together.KeyFile, together.KMS})
	b.check(b.cut(path, e, 1000))
	stick, wrong := filepath.Join(b.dir, "stick"), filepath.Join(b.dir, "wrong")
	b.check(errors.Join(os.WriteFile(stick, []byte(partOfStick), 0o600), os.WriteFile(wrong, []byte("another stick"), 0o600)))
	tpmBy := "systemd-tpm2: {sealed: [" + strings.Join(e.sealedNames(), ", ") + "]}"
	file := func(path string) string { return "key-file: {path: " + path + "}" }
	for _, tt := range []struct {
		name, sources string
		slot          int // 0 is closed
		code          string
	}{
		{"key server and TPM", "{need: 2, of: [kms, systemd-tpm2]}", 1, ""},
		{"TPM and key server", "{need: 2, of: [systemd-tpm2, kms]}", 1, ""},
		{"TPM and stick", "{need: 2, of: [" + tpmBy + ", " + file(stick) + "]}", 2, ""},
		{"key server and stick", "{need: 2, of: [kms, " + file(stick) + "]}", 3, ""},
		{"a wrong stick, and what is behind it", "{need: 2, of: [kms, " + file(wrong) + "]}, {need: 2, of: [kms, systemd-tpm2]}", 1, ""},
		{"a wrong stick", "{need: 2, of: [kms, " + file(wrong) + "]}", 0, together.CodeWrong},
		{"a secret that the plan does not name", "{need: 2, of: [systemd-tpm2: {sealed: [" + strings.Repeat("ab", 32) + "]}, " + file(stick) + "]}", 0, cryptenroll.CodeToken},
		{"all three: no keyslot was made for that", "{need: 3, of: [kms, systemd-tpm2, " + file(stick) + "]}", 0, together.CodeToken},
		{"the key server alone", "kms", 0, "wrong-key"},
		{"the stick alone", file(stick), 0, "wrong-key"},
		{"the TPM alone", tpmBy, 0, "failed"},
	} {
		got, out, err := b.opensTogether(path, tt.sources)
		if tt.slot == 0 && (got != nil || err == nil || codes.Of(err) != tt.code) {
			t.Errorf("%s: mapped %v, %v with code %s, want %s", tt.name, got, err, codes.Of(err), tt.code)
		}
		if tt.slot > 0 && (err != nil || got == nil || !strings.HasPrefix(out, fmt.Sprintf("keyslot %d of volume ", tt.slot))) {
			t.Errorf("%s: mapped %v, %q, %v, want keyslot %d", tt.name, got, out, err, tt.slot)
		}
	}

	// Another boot: the TPM has no part, the key server and the stick do.
	chip, err := tpm.Open(e.tpmPath)
	b.check(err)
	b.check(errors.Join(chip.Extend(t.Context(), 7, func(h crypto.Hash) []byte { return make([]byte, h.Size()) }), chip.Close()))
	if got, _, err := b.opensTogether(path, "{need: 2, of: [kms, systemd-tpm2]}"); got != nil || codes.Of(err) != tpm.CodeSealPolicy {
		t.Errorf("another boot: mapped %v, %v", got, err)
	}
	if got, _, err := b.opensTogether(path, "{need: 2, of: [kms, "+tpmBy+", "+file(stick)+"]}"); got == nil {
		t.Errorf("another boot, with the stick: %v", err)
	}
}

// TestTogetherOfAnotherVolume: parts of one volume open no other one, even if
// that is a copy with everything but the UUID.
func TestTogetherOfAnotherVolume(t *testing.T) {
	if _, err := exec.LookPath("cryptsetup"); err != nil {
		t.Skip("needs cryptsetup")
	}
	b := newBench(t)
	path, e := b.together("vol", []string{together.KeyFile, together.TPM})
	e.client = nil
	b.check(b.cut(path, e, 1000))
	stick, other := filepath.Join(b.dir, "stick"), filepath.Join(b.dir, "other")
	b.check(os.WriteFile(stick, []byte(partOfStick), 0o600))
	sources := "{need: 2, of: [systemd-tpm2: {sealed: [" + strings.Join(e.sealedNames(), ", ") + "]}, key-file: {path: " + stick + "}]}"
	if got, _, err := b.opensTogether(path, sources); got == nil {
		t.Errorf("the volume itself: %v", err)
	}

	text, err := os.ReadFile(path)
	b.check(errors.Join(err, os.WriteFile(other, text, 0o600)))
	out, err := exec.Command("cryptsetup", "luksUUID", "-q", "--uuid", "8b7f0000-0000-4000-8000-000000000002", other).CombinedOutput()
	if err != nil {
		t.Fatalf("cryptsetup luksUUID: %v\n%s", err, out)
	}
	b.opensWithKey(other)
	if got, _, err := b.opensTogether(other, sources); got != nil || codes.Of(err) != together.CodeWrong {
		t.Errorf("another volume: mapped %v, %v with code %s", got, err, codes.Of(err))
	}
}

// TestTogetherWarnings: what no boot would open is told before one.
func TestTogetherWarnings(t *testing.T) {
	b := newBench(t)
	path, e := b.together("vol", []string{together.KeyFile, together.TPM})
	e.client, e.request.Signed = nil, []int{11}
	e.request.Key = publicKey(t)
	b.check(b.cut(path, e, 1000))
	f, h, err := readVolume(path)
	b.check(err)
	defer f.Close()
	here := filepath.Join(b.dir, "here")
	b.check(errors.Join(os.Mkdir(here, 0o700), os.Symlink(path, filepath.Join(here, h.UUID()))))
	p := func(sealed []string, way ...string) *plan.Plan {
		return &plan.Plan{
			KeyFiles: []plan.KeyFile{{Name: "key-file", Path: "x"}}, Recipes: []plan.Recipe{{Name: "together", Ways: [][]string{way}}}, Systemd: plan.SystemdTPM2{Sealed: sealed},
			Volumes: []plan.Volume{{UUID: h.UUID(), Name: "root", Sources: []string{"together"}}},
		}
	}
	good, strange, nameless := p(e.sealedNames(), "systemd-tpm2", "key-file"), p(nil, "kms", "systemd-tpm2"), p(nil, "systemd-tpm2", "key-file")
	for _, tt := range []struct {
		name string
		got  []string
		want string // "" is none
	}{
		{"right", tokenWarnings(here, good), ""},
		{"another combination", tokenWarnings(here, strange), "will not open together: no token of type latchkey-together goes with what the plan allows: token 0: the plan does not allow key-file and systemd-tpm2 together"},
		{"another secret", tokenWarnings(here, nameless), "keyslot 1 of " + here},
		{"no signature in the image", signerWarnings(here, good, nil), "token 0: it wants PCRs [11] signed by the key"},
	} {
		if got := strings.Join(tt.got, "\n"); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct {
		plan *plan.Plan
		want verdict
		says string
	}{{good, doubtful, "keyslot 1: not tried"}, {strange, bad, "no token of type latchkey-together"}} {
		if got := (&checker{}).source(t.Context(), checkedPlan{Plan: tt.plan}, tt.plan.Volumes[0], f, h, nil, "together"); got.Result != tt.want || !strings.Contains(got.Text, tt.says) {
			t.Errorf("check: %+v, want %v that says %q", got, tt.want, tt.says)
		}
	}
}
