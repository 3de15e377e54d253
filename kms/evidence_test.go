package kms_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// An M4 that asks for evidence, and that evidence.
var (
	asking = kms.Decision{
		Status: kms.PCRMismatch, Cookie: fill(20, 50), Words: "PCR 7: db gained 'x'", Ask: &kms.Ask{Cookie: fill(24, 70), Selection: []int{0, 4, 7, 11}},
	}
	evidence = kms.Evidence{Quote: quote, BootLog: kms.BootLog{Log: fill(25, 300), CommandLine: "ro", Kernel: "6.1"}}
)

// checkAsk: an M4 that asks for evidence, and the M6 that shows it.
func checkAsk(t *testing.T, want map[string][]byte, keys *kms.Keys, th3 [32]byte) {
	t.Helper()
	m4, err := kms.ParseAnswer(want["m4ask"])
	if err != nil {
		t.Fatal(err)
	}
	d, err := keys.OpenDecision(m4, th3)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&asking, d); diff != "" || len(want["m4ask"]) != len(want["m4"]) {
		t.Errorf("M4 that asks, %d bytes, want %d (-want +got):\n%s", len(want["m4ask"]), len(want["m4"]), diff)
	}

	m6, err := kms.ParseEvidence(want["m6"])
	if err != nil {
		t.Fatal(err)
	}
	e, err := kms.OpenEvidence(m6, keys.ReportKey(), th3)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&evidence, e); diff != "" {
		t.Errorf("M6 (-want +got):\n%s", diff)
	}
}

// An answer that is full leaves an ask out, and has its size.
func TestAskFitsOrIsLeftOut(t *testing.T) {
	_, keys, th3 := vectors(t)
	full := asking
	full.Cookie = fill(1, kms.MaxReportCookie)
	m4, err := keys.SealDecision(&full, 1, th3)
	if err != nil || len(m4.Encode()) != kms.AnswerSize(1) {
		t.Fatalf("SealDecision = %d bytes, %v, want %d", len(m4.Encode()), err, kms.AnswerSize(1))
	}
	if d, err := keys.OpenDecision(m4, th3); err != nil || d.Ask == nil {
		t.Errorf("there was room for the ask: %+v, %v", d, err)
	}

	full.Volumes = []kms.Granted{{
		UUID: kms.UUID{1}, Status: kms.OK, Digest: fill(1, 32), MAC: fill(1, 32),
		Active: kms.Material{Kind: kms.Static, Secret: secret.Own(fill(1, kms.MaxSecret))},
		Staged: kms.Material{Kind: kms.Static, Secret: secret.Own(fill(1, kms.MaxSecret))},
	}}
	if m4, err = keys.SealDecision(&full, 1, th3); err != nil || len(m4.Encode()) != kms.AnswerSize(1) {
		t.Fatalf("SealDecision = %v", err)
	}
	if d, err := keys.OpenDecision(m4, th3); err != nil || d.Ask != nil || d.Words != "" {
		t.Errorf("OpenDecision = %+v, %v", d, err)
	}
}
