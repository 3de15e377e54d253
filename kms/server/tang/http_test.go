package tang_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"latchkey/kms/server/attest"
	"latchkey/kms/server/tang"
)

// keeper answers with two keys, or refuses.
type keeper struct {
	key    tang.Private
	refuse error
	asked  []string
}

func (k *keeper) Admit(tang.Ask) error {
	if r, ok := errors.AsType[*tang.Refusal](k.refuse); ok && r.Reason == tang.TooOften {
		return r
	}
	return nil
}

func (k *keeper) Advertise(_ context.Context, a tang.Ask, thumbprint string) ([]byte, error) {
	k.asked = append(k.asked, a.Client+"|adv|"+thumbprint+"|"+a.From.String())
	return []byte("{}"), k.refuse
}

func (k *keeper) Recover(_ context.Context, a tang.Ask, thumbprint string, point tang.Key) (tang.Key, error) {
	k.asked = append(k.asked, a.Client+"|rec|"+thumbprint+"|"+a.From.String())
	if k.refuse != nil {
		return tang.Key{}, k.refuse
	}
	product, err := tang.Exchange(k.key, point)
	if err != nil {
		return product, &tang.Refusal{Reason: tang.Malformed, Detail: err.Error()}
	}
	return product, nil
}

// ask sends one request, and says how it was counted.
func ask(k *keeper, method, path, body string) (reply *http.Response, counted string) {
	h := tang.NewHandler(k, func(operation, result string, _ time.Time) { counted = operation + " " + result }, slog.New(slog.DiscardHandler))
	r := httptest.NewRequest(method, "http://kms"+path, strings.NewReader(body))
	r.RemoteAddr = netip.MustParseAddrPort("192.0.2.7:1234").String()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), counted
}

// Paths are tang's, and those below /for/NAME; statuses are those that tangd
// answered to the same requests.
func TestRequests(t *testing.T) {
	all, _ := recordings(t)
	k := &keeper{key: parse(t, all[1].file)}
	for _, row := range []struct {
		method, path, body string
		status             int
		asked, counted     string
	}{
		{"GET", "/adv", "", 200, "|adv||192.0.2.7", "advertise ok"},
		{"GET", "/adv/", "", 200, "|adv||192.0.2.7", "advertise ok"},
		{"GET", "//adv//", "", 200, "|adv||192.0.2.7", "advertise ok"},
		{"GET", "/adv/a-Z_9", "", 200, "|adv|a-Z_9|192.0.2.7", "advertise ok"},
		{"GET", "/for/web-7.example/adv/x", "", 200, "web-7.example|adv|x|192.0.2.7", "advertise ok"},
		{"POST", "/for/web-7/rec/x", all[1].ask, 200, "web-7|rec|x|192.0.2.7", "recover ok"},
		{"POST", "//rec//x", all[1].ask, 200, "|rec|x|192.0.2.7", "recover ok"},
		{"GET", "/", "", 404, "", ""},
		{"GET", "/rec", "", 404, "", ""},
		{"GET", "/adv/x/y", "", 404, "", ""},
		{"GET", "/for/UP/adv", "", 404, "", ""},
		{"GET", "/for/adv", "", 404, "", ""},
		{"HEAD", "/adv", "", 405, "", ""},
		{"POST", "/adv", "", 405, "", ""},
		{"GET", "/rec/x", "", 405, "", ""},
		{"PUT", "/rec/x", "", 405, "", ""},
		{"POST", "/rec/x", "", 400, "", "recover refused"},
		{"POST", "/rec/x", "{", 400, "", "recover refused"},
		{"POST", "/rec/x", "[]", 400, "", "recover refused"},
		{"POST", "/rec/x", "{}", 400, "", "recover refused"},
		{"POST", "/rec/x", `{"kty":"RSA"}`, 400, "", "recover refused"},
		{"POST", "/rec/x", `{"kty":"EC","alg":"ES512"}`, 400, "", "recover refused"},
		{"POST", "/rec/x", `{"kty":"EC","key_ops":["sign"]}`, 403, "", "recover refused"},
		{"POST", "/rec/x", `{"kty":"EC","key_ops":[]}`, 403, "", "recover refused"},
		{"POST", "/rec/x", `{"kty":"EC"}`, 400, "|rec|x|192.0.2.7", "recover refused"},
		{"POST", "/rec/x", all[1].ask + strings.Repeat(" ", 8<<10), 413, "", "recover refused"},
	} {
		k.asked = nil
		reply, counted := ask(k, row.method, row.path, row.body)
		if got := strings.Join(k.asked, " "); reply.StatusCode != row.status || got != row.asked || counted != row.counted {
			t.Errorf("%s %s %.40q: status %d, asked %q, counted %q; want %d, %q, %q", row.method, row.path, row.body, reply.StatusCode, got, counted, row.status, row.asked, row.counted)
		}
		if serves := row.status != 404; tang.Serves(row.path) != serves {
			t.Errorf("Serves(%q) = %t", row.path, !serves)
		}
	}
}

// The answers' kinds are tang's, and a refusal says nothing but its status.
func TestAnswers(t *testing.T) {
	all, _ := recordings(t)
	k := &keeper{key: parse(t, all[1].file)}
	for _, row := range []struct{ method, path, media string }{{"GET", "/adv", "application/jose+json"}, {"POST", "/rec/x", "application/jwk+json"}} {
		reply, _ := ask(k, row.method, row.path, all[1].ask)
		if got := reply.Header.Get("Content-Type"); got != row.media {
			t.Errorf("%s: Content-Type %q, want %q", row.path, got, row.media)
		}
	}
	for _, row := range []struct {
		err     error
		status  int
		counted string
	}{
		{&tang.Refusal{Reason: tang.NoKey}, 404, "refused"},
		{&tang.Refusal{Reason: tang.Retired, Detail: "secret"}, 404, "refused"},
		{&tang.Refusal{Reason: tang.Revoked}, 404, "refused"},
		{&tang.Refusal{Reason: tang.Network}, 403, "refused"},
		{&tang.Refusal{Reason: tang.Window}, 403, "refused"},
		{&tang.Refusal{Reason: tang.NotExchange}, 403, "refused"},
		{&tang.Refusal{Reason: tang.TooOften}, 429, "refused"},
		{attest.ErrBusy, 503, "busy"},
		{errors.New("the disk is full"), 503, "failed"},
	} {
		k.refuse = row.err
		reply, counted := ask(k, "POST", "/rec/x", all[1].ask)
		body, _ := io.ReadAll(reply.Body)
		if reply.StatusCode != row.status || counted != "recover "+row.counted || len(body) > 0 {
			t.Errorf("%v: status %d, counted %q, body %q; want %d, %q, none", row.err, reply.StatusCode, counted, body, row.status, row.counted)
		}
		if again := reply.Header.Get("Retry-After") != ""; again != (row.status == 429 || row.status == 503) {
			t.Errorf("%v: Retry-After: %t", row.err, again)
		}
	}
}
