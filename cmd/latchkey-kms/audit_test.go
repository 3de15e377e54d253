package main

import (
	"strings"
	"testing"
	"time"

	"latchkey/kms/ledger"
)

// faults/kms.md 4: the audit log could only be read from a number on.
func TestAuditFilter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	event := ledger.Event{Seq: 7, Time: now.Add(-2 * time.Hour), Event: "quarantine", Node: "6f3c99a1", From: "token ci at 192.0.2.7"}
	for _, row := range []struct {
		name   string
		filter auditFilter
		want   bool
	}{
		{"none", auditFilter{}, true},
		{"within a time ago", auditFilter{since: "3h"}, true},
		{"before a time ago", auditFilter{since: "1h"}, false},
		{"days", auditFilter{since: "1d"}, true},
		{"since a time", auditFilter{since: "2026-11-22T09:59:00Z"}, true},
		{"at that very time", auditFilter{since: "2026-11-22T10:00:00Z"}, true},
		{"before a time, in another zone", auditFilter{since: "2026-11-22T11:30:00+01:00"}, false},
		{"its name", auditFilter{event: "quarantine"}, true},
		{"a part of its name is another name", auditFilter{event: "quarant"}, false},
		{"its node", auditFilter{node: "6f3c"}, true},
		{"another node", auditFilter{node: "7"}, false},
		{"until a time ago", auditFilter{until: "1h"}, true},
		{"after a time ago", auditFilter{until: "3h"}, false},
		{"until that very time", auditFilter{until: "2026-11-22T10:00:00Z"}, false},
		{"who did it", auditFilter{actor: "token ci"}, true},
		{"a part of who did it", auditFilter{actor: "192.0.2."}, true},
		{"another", auditFilter{actor: "token cd"}, false},
		{"one of two does not match", auditFilter{event: "quarantine", node: "7"}, false},
	} {
		if err := row.filter.parse(now); err != nil {
			t.Fatal(err)
		}
		if got := row.filter.matches(event); got != row.want {
			t.Errorf("%s: %+v matches: %t, want %t", row.name, row.filter, got, row.want)
		}
	}
	if err := (&auditFilter{until: "tomorrow"}).parse(now); err == nil || !strings.Contains(err.Error(), "--until") {
		t.Errorf("--until tomorrow: %v", err)
	}
	if err := (&auditFilter{since: "yesterday"}).parse(now); err == nil {
		t.Error("--since yesterday was accepted")
	}
}
