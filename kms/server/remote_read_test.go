package server_test

import (
	"crypto/tls"
	"net/http"
	"testing"

	"latchkey/kms/admin"
)

// faults/kms.md H6: who may only look writes nothing into the database, and
// cannot have all of it verified.
func TestReadingCostsNoWrite(t *testing.T) {
	l := newRemote(t)
	before := len(l.log())
	token := l.token("dashboard", admin.ScopeRead)
	made := len(l.log())
	for _, path := range []string{"/v1/nodes", "/v1/nodes/page", "/v1/audit?from=1", "/v1/volumes"} {
		if got := l.status("GET", path, token, nil); got != http.StatusOK {
			t.Errorf("GET %s = %d", path, got)
		}
	}
	if n := len(l.log()); n != made || made == before {
		t.Errorf("looking made %d events", n-made)
	}
	boss := l.token("boss", admin.ScopeAdmin)
	made = len(l.log())
	for _, path := range []string{"/v1/tokens", "/v1/check", "/v1/audit/segments"} {
		if got := l.status("GET", path, boss, nil); got != http.StatusOK {
			t.Errorf("GET %s = %d", path, got)
		}
	}
	if n := len(l.log()); n != made {
		t.Errorf("who may do all, and only looked, made %d events", n-made)
	}
	if got := l.status("GET", "/v1/backup", boss, nil); got != http.StatusOK || len(l.log()) != made+1 {
		t.Errorf("GET /v1/backup = %d, and made %d events, want one: it gives the database away", got, len(l.log())-made)
	}
	if got := l.status("GET", "/v1/check", token, nil); got != http.StatusForbidden {
		t.Errorf("a check with scope read = %d, want 403", got)
	}
}

// faults/kms.md M6: a page that an operator visits makes his browser send
// requests, with his certificate.
func TestOtherSitesMakeNoRequests(t *testing.T) {
	l := newRemote(t)
	alice := l.ca.client("alice")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: l.ca.pool(), Certificates: []tls.Certificate{alice}}, DisableKeepAlives: true}}
	node := l.approved().NodeID().String()
	for _, row := range []struct {
		name, header, value string
		want                int
	}{
		{"a command", "", "", http.StatusOK},
		{"another site's page", "Sec-Fetch-Site", "cross-site", http.StatusForbidden},
		{"another site's form in an old browser", "Origin", "https://evil.example", http.StatusForbidden},
		{"this server's own page", "Sec-Fetch-Site", "same-origin", http.StatusOK},
	} {
		r, err := http.NewRequest("POST", l.url+"/v1/node/readmit?who="+node, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if row.header != "" {
			r.Header.Set(row.header, row.value)
		}
		reply, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		if reply.StatusCode != row.want {
			t.Errorf("%s: status %d, want %d", row.name, reply.StatusCode, row.want)
		}
	}
}
