package kms_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/secret"
	"latchkey/kms"
)

var update = flag.Bool("update", false, "write testdata/lk1.txt anew")

const vectorFile = "testdata/lk1.txt"

// fill is n bytes that count up from a start.
func fill(start byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = start + byte(i)
	}
	return b
}

// An exchange with made-up TPM structures: what is checked here is the
// encoding and the keys.
var (
	hello = kms.Hello{
		Nonce: [32]byte(fill(1, 32)), Ephemeral: [32]byte(fill(2, 32)), EKPublic: fill(3, 122), EKCert: nil, AKPublic: fill(4, 90),
		Operation: kms.Get, Volumes: []kms.Want{{UUID: kms.UUID(fill(5, 16)), Digest: [32]byte(fill(6, 32)), SeqID: 7}},
		Pins: []kms.KeyID{kms.KeyID(fill(8, 8))},
	}
	core = kms.Core{
		Nonce: [32]byte(fill(9, 32)), Ephemeral: [32]byte(fill(10, 32)), MLKEM: [kms.MLKEMKeySize]byte(kemOf(26).EncapsulationKey().Bytes()), Blob: fill(11, 68), Seed: fill(12, 68), Selection: []int{7, 11, 12, 15},
	}
	opened, shared = fill(13, 32), fill(14, 32)
	encapsulated   = fill(24, 32)
	ciphertext     = [kms.MLKEMCipherSize]byte(fill(25, kms.MLKEMCipherSize))
	quote          = kms.Quote{Attest: fill(15, 145), Signature: fill(16, 72), PCRs: []kms.PCR{{Index: 7, Value: [32]byte(fill(17, 32))}, {Index: 15}}}
	offers         = []kms.Offer{{UUID: kms.UUID(fill(5, 16)), Kind: kms.Bound, Secret: secret.Own(fill(18, 40)), MAC: fill(19, 32)}}
	decision       = kms.Decision{
		Status: kms.OK, Cookie: fill(20, 50),
		Volumes: []kms.Granted{{
			UUID: kms.UUID(fill(5, 16)), Status: kms.OK, Digest: fill(6, 32), MAC: fill(19, 32),
			Active: kms.Material{Kind: kms.Static, Secret: secret.Own([]byte("active"))},
			Staged: kms.Material{Kind: kms.Bound, Secret: secret.Own([]byte("staged"))},
		}},
	}
	results = []kms.Result{{UUID: kms.UUID(fill(5, 16)), Outcome: kms.OpenedStaged, SeqID: 8, MAC: fill(19, 32)}}
)

// vectors computes what does not depend on chance.
func vectors(t *testing.T) (v map[string][]byte, keys *kms.Keys, th3 [32]byte) {
	t.Helper()
	m1 := hello.Encode()
	th1 := kms.HelloHash(m1)
	th2 := kms.CoreHash(th1, core.Encode())
	keys, err := kms.NewKeys(&kms.Agreed{
		S: secret.Own(opened), MLKEM: secret.Own(encapsulated), X25519: secret.Own(shared), Ciphertext: ciphertext,
	}, th2)
	if err != nil {
		t.Fatal(err)
	}

	sealed, err := keys.SealOffers(kms.EncodeOffers(offers))
	if err != nil {
		t.Fatal(err)
	}

	m2 := kms.Challenge{Core: core.Encode(), Cookie: fill(21, 60), Signature: fill(22, 64)}
	m3 := kms.Redeem{Ciphertext: ciphertext, Quote: quote, Cookie: m2.Cookie, Offers: sealed}
	m3.Seal(keys)
	th3 = kms.RedeemHash(th2, m3.Encode())
	extra, second := kms.QuoteData(th2), kms.EvidenceData(th3)
	return map[string][]byte{
		"m1": m1, "th1": th1[:], "core": core.Encode(), "th2": th2[:], "m2": m2.Encode(), "signed": m2.Signed(th2),
		"s": opened, "mlkem": encapsulated, "x25519": shared, "quote": extra[:], "m3": m3.Encode(), "th3": th3[:], "evidence": second[:], "k_m5": keys.ReportKey().Reveal(),
	}, keys, th3
}

func TestVectors(t *testing.T) {
	got, keys, th3 := vectors(t)
	if *update {
		writeVectors(t, got, keys, th3)
	}
	want := readVectors(t)
	for name, b := range got {
		if !bytes.Equal(b, want[name]) {
			t.Errorf("%s = %x, want %x", name, b, want[name])
		}
	}

	m4, err := kms.ParseAnswer(want["m4"])
	if err != nil {
		t.Fatal(err)
	}

	d, err := keys.OpenDecision(m4, th3)
	if err != nil {
		t.Fatal(err)
	}

	compare := cmp.Comparer(func(a, b secret.Bytes) bool { return a.Equal(b) })
	if diff := cmp.Diff(&decision, d, compare); diff != "" {
		t.Errorf("M4 (-want +got):\n%s", diff)
	}
	m5, err := kms.ParseReport(want["m5"])
	if err != nil {
		t.Fatal(err)
	}

	r, err := kms.OpenReport(m5, keys.ReportKey(), th3)
	if err != nil {
		t.Fatal(err)
	}

	if diff := cmp.Diff(results, r); diff != "" {
		t.Errorf("M5 (-want +got):\n%s", diff)
	}
	checkAsk(t, want, keys, th3)
}

var vectorNames = []string{"m1", "th1", "core", "th2", "m2", "signed", "s", "mlkem", "x25519", "quote", "m3", "th3", "evidence", "k_m5", "m4", "m5", "m4ask", "m6"}

func writeVectors(t *testing.T, v map[string][]byte, keys *kms.Keys, th3 [32]byte) {
	t.Helper()
	m4, err := keys.SealDecision(&decision, 1, th3)
	if err != nil {
		t.Fatal(err)
	}

	m5, err := kms.SealReport(keys.ReportKey(), th3, fill(23, 40), results)
	if err != nil {
		t.Fatal(err)
	}

	ask, err := keys.SealDecision(&asking, 1, th3)
	if err != nil {
		t.Fatal(err)
	}
	m6, err := kms.SealEvidence(keys.ReportKey(), th3, asking.Ask.Cookie, &evidence)
	if err != nil {
		t.Fatal(err)
	}
	v["m4"], v["m5"], v["m4ask"], v["m6"] = m4.Encode(), m5.Encode(), ask.Encode(), m6.Encode()
	var b strings.Builder
	b.WriteString("# One lk1 exchange, in hex; kms/vectors_test.go says of what. TPM structures are made up.\n")
	for _, name := range vectorNames {
		fmt.Fprintf(&b, "%s %x\n", name, v[name])
	}

	delete(v, "m4")
	delete(v, "m5")
	delete(v, "m4ask")
	delete(v, "m6")
	if err := os.WriteFile(vectorFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readVectors(t testing.TB) map[string][]byte {
	t.Helper()
	f, err := os.Open(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v := map[string][]byte{}
	s := bufio.NewScanner(f)
	for s.Scan() {
		name, text, ok := strings.Cut(s.Text(), " ")
		if !ok || name == "#" {
			continue
		}
		if v[name], err = hex.DecodeString(text); err != nil {
			t.Fatal(err)
		}
	}

	return v
}

// Every message survives a round trip and nothing else does: cut anywhere
// or with one byte more it is refused.
func TestMessagesAreExact(t *testing.T) {
	v := readVectors(t)
	for _, row := range []struct {
		name  string
		parse func([]byte) ([]byte, error)
	}{
		{"m1", func(b []byte) ([]byte, error) { return encoded(kms.ParseHello(b)) }},
		{"m2", func(b []byte) ([]byte, error) { return encoded(kms.ParseChallenge(b)) }},
		{"m3", func(b []byte) ([]byte, error) { return encoded(kms.ParseRedeem(b)) }},
		{"m4", func(b []byte) ([]byte, error) { return encoded(kms.ParseAnswer(b)) }},
		{"m5", func(b []byte) ([]byte, error) { return encoded(kms.ParseReport(b)) }},
	} {
		whole := v[row.name]
		if got, err := row.parse(whole); err != nil || !bytes.Equal(got, whole) {
			t.Errorf("%s does not survive a round trip: %v", row.name, err)
		}
		if _, err := row.parse(append(bytes.Clone(whole), 0)); err == nil {
			t.Errorf("%s with a trailing byte was taken", row.name)
		}

		for n := range len(whole) {
			if _, err := row.parse(whole[:n]); err == nil {
				t.Errorf("%s cut to %d bytes was taken", row.name, n)
				break
			}
		}
	}
}

func encoded[M interface{ Encode() []byte }](m M, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return m.Encode(), nil
}

func TestHelloBounds(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*kms.Hello)
	}{
		{"no volume", func(m *kms.Hello) { m.Volumes = nil }},
		{"17 volumes", func(m *kms.Hello) {
			for i := range byte(16) {
				m.Volumes = append(m.Volumes, kms.Want{UUID: kms.UUID{100 + i}})
			}
		}},
		{"a volume twice", func(m *kms.Hello) { m.Volumes = append(m.Volumes, m.Volumes[0]) }},
		{"operation 0", func(m *kms.Hello) { m.Operation = 0 }},
		{"operation 8", func(m *kms.Hello) { m.Operation = 8 }},
		{"9 pins", func(m *kms.Hello) { m.Pins = make([]kms.KeyID, 9) }},
		{"huge EK", func(m *kms.Hello) { m.EKPublic = make([]byte, 1025) }},
		{"huge certificate", func(m *kms.Hello) { m.EKCert = make([]byte, 4097) }},
	} {
		m := hello
		m.Volumes = append([]kms.Want(nil), hello.Volumes...)
		row.change(&m)
		if _, err := kms.ParseHello(m.Encode()); err == nil {
			t.Errorf("M1 with %s was taken", row.name)
		}
	}

	b := hello.Encode()
	b[2] = 2
	if _, err := kms.ParseHello(b); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("M1 of version 2 = %v", err)
	}
}

// The keys of one message open no other, and an answer belongs to one M3.
func TestKeysAreForOneMessage(t *testing.T) {
	_, keys, th3 := vectors(t)
	m4, err := keys.SealDecision(&decision, 1, th3)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := keys.OpenDecision(m4, [32]byte{}); err == nil {
		t.Error("an answer to another M3 was opened")
	}
	if _, err := keys.OpenOffers(m4.Sealed); err == nil {
		t.Error("k_m3 opened an M4")
	}

	fresh := *m4
	fresh.Fresh[0] ^= 1
	if _, err := keys.OpenDecision(&fresh, th3); err == nil {
		t.Error("an answer with other fresh bytes was opened")
	}
	again, err := keys.SealDecision(&decision, 1, th3)
	if err != nil || bytes.Equal(again.Sealed, m4.Sealed) {
		t.Errorf("the same answer twice has the same bytes (%v): a key was used twice", err)
	}

	if len(m4.Encode()) != kms.AnswerSize(1) {
		t.Errorf("M4 has %d bytes, AnswerSize says %d", len(m4.Encode()), kms.AnswerSize(1))
	}
	small, err := keys.SealDecision(&kms.Decision{Status: kms.Refused}, 1, th3)
	if err != nil || len(small.Encode()) != len(m4.Encode()) {
		t.Errorf("a refusal has another size than an answer: %v", err)
	}
}
