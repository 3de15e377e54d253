package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"latchkey/kms/server/kairos"
	"latchkey/kms/store"
)

// Who says nothing is cut off after 40 seconds, and who begins a frame and
// does not end it as well.
func TestKairosSlowClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory, speaksKairos)
		dialer := websocket.Dialer{NetDialContext: f.pipe.dial}
		for name, sent := range map[string][]byte{"silent": nil, "half a frame": {0x81, 0xfe, 0x01}} {
			conn, _, err := dialer.Dial("ws://kms"+kairos.AttestationPath, nil)
			if err != nil {
				t.Fatal(err)
			}

			if _, err := conn.NetConn().Write(sent); err != nil && sent != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if _, _, err := conn.ReadMessage(); err == nil {
				t.Errorf("%s: the server answered", name)
			}

			if took := time.Since(began); took < 30*time.Second || took > time.Minute {
				t.Errorf("%s: cut off after %v, want 40 s: a slow TPM needs half a minute", name, took)
			}
			conn.Close()
		}
	})
}

// D7: those who hold websockets open make room for those who speak.
func TestKairosHalfOpen(t *testing.T) {
	f, _, n := setUp(t)
	for range 64 {
		conn, _, err := websocket.DefaultDialer.Dial(strings.Replace(f.url, "http", "ws", 1)+kairos.AttestationPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	must(t, n)
}

// Nothing is served that was not switched on.
func TestKairosOff(t *testing.T) {
	for name, f := range map[string]*fixture{"lk1 only": newKMS(t)} {
		for _, path := range []string{kairos.AttestationPath, kairos.GetPath, kairos.PostPath} {
			reply, err := http.Get(f.url + path)
			if err != nil {
				t.Fatal(err)
			}
			reply.Body.Close()
			if reply.StatusCode != http.StatusNotFound {
				t.Errorf("%s: GET %s = %d, want 404", name, path, reply.StatusCode)
			}
		}
	}
}

// F23: on a full disk nothing is given out, and nothing half made.
func TestKairosFullDisk(t *testing.T) {
	disk := &full{}
	f, tpm := newKMS(t, speaksKairos, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store {
			disk.Store = st
			return disk
		}
	}), newSoft(t)
	if err := f.apply(tpm, document); err != nil {
		t.Fatal(err)
	}

	n := f.kairosNode(tpm)
	disk.on.Store(true)
	refused(t, n, "") // it passes
	disk.on.Store(false)
	first := must(t, n)
	disk.on.Store(true)
	refused(t, n, "")
	disk.on.Store(false)
	if must(t, n) != first {
		t.Error("another passphrase after the disk was full")
	}

	if got := f.events("kairos get"); got != 2 {
		t.Errorf("%d releases in the log, want 2", got)
	}
}

// Each answer has its line in the audit log, and none holds a secret.
func TestKairosAudit(t *testing.T) {
	f, tpm, n := setUp(t)
	passphrase := must(t, n)
	log, err := json.Marshal(f.log())
	if err != nil {
		t.Fatal(err)
	}

	for _, want := range []string{"kairos apply", "kairos get", tpm.Hash(), "COS_PERSISTENT"} {
		if !strings.Contains(string(log), want) {
			t.Errorf("the audit log lacks %q: %s", want, log)
		}
	}

	if strings.Contains(string(log), passphrase) {
		t.Error("the passphrase is in the audit log")
	}
	before := len(f.log())
	f.kairos("quarantine", tpm)
	refused(t, n, "quarantined")
	refused(t, n, "quarantined")
	if got := len(f.log()) - before; got != 2 {
		t.Errorf("%d events for a quarantine and two refusals alike, want 2", got)
	}

	if c, err := f.Check(); err != nil || c.Records == 0 {
		t.Errorf("Check = %+v, %v", c, err)
	}
}
