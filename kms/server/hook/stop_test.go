package hook_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"latchkey/kms/server/hook"
)

// TestStopNamesWhatIsLost is a low row of faults/kms.md: what a hook was not
// told when the server stopped is said, not forgotten.
func TestStopNamesWhatIsLost(t *testing.T) {
	asked := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // the server watches the connection only after the body's end
		close(asked)
		<-r.Context().Done() // hangs until the delivery is called off
	}))
	defer web.Close()
	target, err := hook.NewWeb(web.URL, signer(t, firstKey))
	if err != nil {
		t.Fatal(err)
	}
	set, log := start(t, target, hook.All)
	first, second := pending, pending
	first.Seq, second.Seq = 41, 42
	set.Tell(first)
	wait(t, asked)
	set.Tell(second)
	set.Stop()
	if got := log(); !strings.Contains(got, "notices=2") || !strings.Contains(got, "from_seq=41") {
		t.Errorf("the log is %q, want two notices from 41 named", got)
	}

	quiet, log := start(t, target, hook.All)
	quiet.Stop()
	if got := log(); got != "" {
		t.Errorf("the log is %q, want nothing: nothing was lost", got)
	}
}
