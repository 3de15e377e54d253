package server_test

import (
	"encoding/json"
	"net/http"
	"slices"

	"latchkey/kms/server/tang"
	tangkeeper "latchkey/kms/server/tang/keeper"
)

// askTang asks the routes about tang's keys.
func askTang(d *document31, h http.Handler, ask func(method, target, body string, want int)) {
	d.t.Helper()
	sign, exchange, err := tang.Generate("P-256")
	if err != nil {
		d.t.Fatal(err)
	}
	var in tangkeeper.Files
	for i, p := range []tang.Private{sign, exchange} {
		text, err := p.File()
		if err != nil {
			d.t.Fatal(err)
		}
		in.Files = append(in.Files, tangkeeper.File{Hidden: i == 1, JWK: text})
	}
	body, err := json.Marshal(in)
	if err != nil {
		d.t.Fatal(err)
	}
	ask("POST", "/v1/tang/import", string(body), 200)
	ask("POST", "/v1/tang/import", string(body), 200)
	ask("POST", "/v1/tang/import", `{"files":[{"jwk":"e30="}]}`, 400)
	ask("POST", "/v1/tang/export", "", 200)
	ask("POST", "/v1/tang/export?for=nobody", "", 404)
	ask("POST", "/v1/tang/rotate?curve=P-384", "", 200)
	ask("POST", "/v1/tang/rotate?curve=P-1", "", 400)
	ask("POST", "/v1/tang/show?key="+sign.Thumbprint(), "", 200)
	ask("POST", "/v1/tang/hide?key="+sign.Thumbprint(), "", 200)
	ask("POST", "/v1/tang/retire?key="+sign.Thumbprint(), "", 200)
	ask("POST", "/v1/tang/undelete?key="+sign.Thumbprint(), "", 200)
	ask("POST", "/v1/tang/retire?key="+sign.Thumbprint(), "", 200)
	ask("POST", "/v1/tang/import", string(body), 409)
	ask("POST", "/v1/tang/new?for=web-7&source=192.0.2.0/24", "", 200)
	ask("POST", "/v1/tang/new?for=web-7", "", 409)
	ask("POST", "/v1/tang/new?for=web-8&source=x", "", 400)
	ask("POST", "/v1/tang/revoke?for=web-7", "", 200)
	ask("GET", "/v1/tang/keys", "", 200)
	ask("POST", "/v1/tang/readmit?for=web-7", "", 200)

	var keys []tangkeeper.Key
	_, text := get(h, "/v1/tang/keys")
	if err := json.Unmarshal(text, &keys); err != nil {
		d.t.Fatal(err)
	}
	var states []string
	for _, k := range keys {
		states = append(states, k.Client+" "+k.Use+" "+k.State)
	}
	if want := []string{" sign retired", " exchange hidden", " sign advertised", " exchange advertised", "web-7 sign advertised", "web-7 exchange advertised"}; !slices.Equal(states, want) {
		d.t.Errorf("the keys are %q, want %q", states, want)
	}
}
