package policy_test

import (
	"crypto/sha256"
	"os"
	"strings"
	"testing"

	"latchkey/kms"
	"latchkey/kms/server/eventlog"
	"latchkey/kms/server/eventlog/eventlogtest"
	"latchkey/kms/server/policy"
)

// Changes of the common kind need no operator, where the setting accept says
// so; any other change beside them does.
func TestAccept(t *testing.T) {
	one := sha256.Sum256([]byte("1"))
	gained2023 := added("db", der(t, "microsoft-uefi-2023"))
	for _, row := range []struct {
		name   string
		rules  []string
		change func(*eventlogtest.Log)
		want   kms.Status
		says   string
	}{
		{"db gained 2023", []string{"microsoft-2023"}, gained2023, kms.OK, "PCR 7 changed by microsoft-2023"},
		{"db gained 2023, not accepted", nil, gained2023, kms.PCRMismatch, "PCR 7: db gained 'Microsoft UEFI CA 2023'"},
		{"db gained 2023, none", []string{"none"}, gained2023, kms.PCRMismatch, "PCR 7: db gained 'Microsoft UEFI CA 2023'"},
		{"db gained another", []string{"microsoft-2023", "revocations"}, added("db", eventlogtest.Certificate("Microsoft UEFI CA 2023")), kms.PCRMismatch, "db gained 'Microsoft UEFI CA 2023'"},
		{"db gained 2023 and another", []string{"microsoft-2023"}, func(l *eventlogtest.Log) {
			gained2023(l)
			added("db", eventlogtest.Certificate("Foreign"))(l)
		}, kms.PCRMismatch, "db gained 'Foreign'"},
		{"dbx grew", []string{"revocations"}, added("dbx", one[:]), kms.OK, "PCR 7 changed by revocations"},
		{"dbx grew, only certificates are accepted", []string{"microsoft-2023"}, added("dbx", one[:]), kms.PCRMismatch, "dbx gained 1 digest"},
		{"dbx lost", []string{"revocations"}, func(l *eventlogtest.Log) { l.SetVariable("dbx", eventlogtest.List(one[:])) }, kms.PCRMismatch, "dbx lost 1 digest"},
		{"SBAT rose", []string{"revocations"}, func(l *eventlogtest.Log) { level(l, "sbat,1,2025\nshim,5\ngrub,5\n") }, kms.OK, "revocations"},
		{"SBAT fell", []string{"revocations"}, func(l *eventlogtest.Log) { level(l, "sbat,1,2022\nshim,3\ngrub,5\n") }, kms.PCRMismatch, "SBAT level of shim is 3, was 4"},
		{"Secure Boot off", []string{"microsoft-2023", "revocations"}, func(l *eventlogtest.Log) { l.SetVariable("SecureBoot", []byte{0}) }, kms.PCRMismatch, "Secure Boot is off, was on"},
		{"a debugger", []string{"microsoft-2023", "revocations"}, func(l *eventlogtest.Log) {
			gained2023(l)
			i := l.Find(7, eventlogtest.Separator, func(eventlogtest.Event) bool { return true })
			l.Insert(i, eventlogtest.Event{PCR: 7, Type: 0x80000007, Digest: sha256.Sum256([]byte("UEFI Debug Mode")), Data: []byte("UEFI Debug Mode")})
		}, kms.PCRMismatch, "something else of Secure Boot changed"},
		{"the firmware alone: PCR 0 is not pinned", nil, version("2.0"), kms.OK, "PCRs 7, 11, 12 are as approved"},
	} {
		f := booted("grub", row.change)
		f.Settings.Accept = row.rules
		if v := policy.Judge(f); v.Status != row.want || !strings.Contains(boot(v), row.says) {
			t.Errorf("%s: Judge = %v, %q, want %v and %q", row.name, v.Status, boot(v), row.want, row.says)
		}
	}

	f := booted("grub", gained2023)
	f.Settings.Accept, f.Boot = []string{"microsoft-2023"}, nil
	if v := policy.Judge(f); v.Status != kms.PCRMismatch {
		t.Errorf("without a log: Judge = %v", v.Status)
	}
}

// der is a well-known certificate.
func der(t *testing.T, short string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + short + ".der")
	if err != nil {
		t.Fatal(err)
	}
	if w, ok := eventlog.Named(short); !ok || sha256.Sum256(b) != w.SHA256 {
		t.Fatalf("testdata/%s.der is another certificate", short)
	}
	return b
}
