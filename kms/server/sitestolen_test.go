package server_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
)

// A boxThief has the key of a site's server, and asks the center by hand.
type boxThief struct {
	*siteLab
	key ed25519.PrivateKey
	web *http.Client
	n   uint64 // ends that it made up
}

func (l *siteLab) stolen(key ed25519.PrivateKey) *boxThief {
	l.t.Helper()
	like := &x509.Certificate{SerialNumber: big.NewInt(7), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, like, like, key.Public(), key)
	if err != nil {
		l.t.Fatal(err)
	}
	config := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return &boxThief{l, key, &http.Client{Transport: &http.Transport{TLSClientConfig: config, DialContext: l.wire.dial, DisableKeepAlives: true}}, 0}
}

// sync says what a site's server says, signed for a site of that name.
func (s *boxThief) sync(name string, report map[string]any) (status int, answer string) {
	s.t.Helper()
	end, ok := report["end"].(ledger.ChainEnd)
	if !ok {
		if err := s.site.Read(func(v ledger.View) (err error) { end, err = v.ChainEnd(); return err }); err != nil {
			s.t.Fatal(err)
		}
	}
	text := binary.BigEndian.AppendUint64(append([]byte("latchkey/site-log"), append([]byte{byte(len(name))}, name...)...), end.Seq)
	report["end"], report["signature"] = end, ed25519.Sign(s.key, append(text, end.Hash[:]...))
	body, err := json.Marshal(report)
	if err != nil {
		s.t.Fatal(err)
	}
	reply, err := s.web.Post("https://center:7744/site/v1/sync", "application/json", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer reply.Body.Close()
	var out bytes.Buffer
	if _, err := out.ReadFrom(reply.Body); err != nil {
		s.t.Fatal(err)
	}
	return reply.StatusCode, out.String()
}

// TestSiteStolen: who has a site's server has what that site has, and nothing
// of another: no copy, no say in another's machine, no word in another's name.
func TestSiteStolen(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		own, other := l.machine(root, ofBerlin), l.machine(data, map[string]string{"site": "munich"})
		l.stop()
		box := l.stolen(l.site.Signing()[0])

		status, answer := box.sync("berlin", map[string]any{"tell": true, "have": map[string]any{other.NodeID().String(): make([]int, 16)}})
		if status != http.StatusOK || !strings.Contains(answer, own.NodeID().String()) {
			t.Errorf("its own machine is not in the answer: status %d", status)
		}
		var a struct{ Changed []struct{ Node kms.NodeID } }
		if err := json.Unmarshal([]byte(answer), &a); err != nil || len(a.Changed) != 1 {
			t.Errorf("it was told of %d machines, %v; want its own", len(a.Changed), err)
		}

		tally := func(tpm kms.NodeID) map[string]any {
			return map[string]any{"tell": true, "tallies": []map[string]any{{"node": tpm.String(), "last": time.Now(), "clock": map[string]any{"Reset": 1000, "Restart": 0}, "in_boot": 50}}, "end": box.next()}
		}
		for name, tpm := range map[string]kms.NodeID{"its own": own.NodeID(), "another's": other.NodeID()} {
			if status, answer := box.sync("berlin", tally(tpm)); status != http.StatusOK {
				t.Fatalf("status %d: %s", status, answer)
			}
			n, err := l.Node(tpm.String())
			if counted := n.Clock.Reset == 1000; err != nil || counted != (name == "its own") {
				t.Errorf("%s machine is counted: %v, %v", name, counted, err)
			}
		}
		if status, answer := box.sync("munich", map[string]any{"tell": true, "end": box.next()}); status != http.StatusConflict || strings.Contains(answer, "changed") {
			t.Errorf("a word in another's name has status %d", status)
		}
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if status, _ := l.stolen(key).sync("berlin", map[string]any{"tell": true}); status != http.StatusGone {
			t.Errorf("another key has status %d, want 410", status)
		}
	})
}

// next is an end of the log that is further on than all before.
func (s *boxThief) next() (end ledger.ChainEnd) {
	s.t.Helper()
	s.n++
	err := s.site.Read(func(v ledger.View) (err error) {
		if end, err = v.ChainEnd(); err != nil {
			return err
		}
		end, err = end.Follow(end.Seq+s.n, fmt.Appendf(nil, `{"seq":%d,`, end.Seq+s.n))
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return end
}

// TestSiteIsAddedHere: who administers from far away adds no site, whatever
// his scope: where two people must approve a machine, one would get its keys.
func TestSiteIsAddedHere(t *testing.T) {
	l := newRemote(t)
	token := l.token("robot", admin.ScopeAdmin)
	body := `{"name":"berlin","labels":{"site":"berlin"},"center":["kms:7744"],"bounds":{"offline":"1h","releases":1,"machines":1,"in_all":1}}`
	if status := l.post("/v1/site/add", token, body); status != http.StatusConflict {
		t.Errorf("a token of scope admin adds a site from far away: status %d", status)
	}
	if status, _ := post(l.AdminHandler(), "/v1/site/add", []byte(body)); status != http.StatusOK {
		t.Errorf("on the key server's host: status %d", status)
	}
	const bounds = `{"offline":"1h","releases":9,"machines":0,"in_all":0}`
	if status := l.post("/v1/site/bounds?name=berlin", token, bounds); status != http.StatusConflict {
		t.Errorf("bounds from elsewhere: status %d, want %d", status, http.StatusConflict)
	}
	if status, _ := post(l.AdminHandler(), "/v1/site/bounds?name=berlin", []byte(bounds)); status != http.StatusOK {
		t.Errorf("bounds on the key server's host: status %d", status)
	}
	if status := l.post("/v1/site/remove?name=berlin", token, ""); status != http.StatusOK {
		t.Errorf("removing it from far away: status %d", status)
	}
}
