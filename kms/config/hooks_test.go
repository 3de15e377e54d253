package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// hookFiles are what hooks name: keys, a token and a webhook's URL.
func hookFiles(t *testing.T) (key, token, web string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "token": "syt_1\n", "web": "https://hooks.slack.example/services/canary\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "key"), filepath.Join(dir, "token"), filepath.Join(dir, "web")
}

// Hooks: one target each, and what it needs is there.
func TestHooks(t *testing.T) {
	key, token, web := hookFiles(t)
	good := Hooks{
		{URL: "https://hooks.example.org/x", SecretFile: key, On: []string{"approve"}},
		{Program: []string{"/bin/true", "a"}, Labels: []string{"site=oslo"}},
		{Preset: "ntfy", URL: "https://ntfy.example.org/kms", Approve: ByWords, Person: "ann"},
		{Preset: "ntfy", URL: "https://ntfy.example.org/kms", SecretFile: token},
		{Preset: "slack", SecretFile: web},
		{Preset: "teams", SecretFile: web},
		{Preset: "matrix", URL: "https://matrix.example.org", Room: "!a:example.org", SecretFile: token},
		{Preset: "email", URL: "smtp://mail.example.org", From: "a@example.org", To: []string{"b@example.org"}},
		{Preset: "email", URL: "smtps://mail.example.org", From: "a@example.org", To: []string{"b@example.org"}, User: "a", SecretFile: token},
	}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	targets, err := good.Targets()
	if err != nil || len(targets) != len(good) || !slices.Equal(targets[0].On, []string{"approve"}) || !slices.Equal(targets[1].On, []string{"pending"}) || !slices.Equal(targets[1].Labels, []string{"site=oslo"}) || targets[1].Blind || !targets[2].Blind || targets[2].Person != "ann" {
		t.Errorf("Targets = %v, %v", targets, err)
	}
	if got := targets[4].Target.String(); got != "https://hooks.slack.example" {
		t.Errorf("the log names Slack's hook %s", got)
	}
}

func TestHooksThatAreNone(t *testing.T) {
	key, token, web := hookFiles(t)
	mail := Hook{Preset: "email", URL: "smtp://mail.example.org", From: "a@example.org", To: []string{"b@example.org"}}
	badCA, userAlone := mail, mail
	badCA.CA, userAlone.User = token, "a"
	for name, row := range map[string]struct {
		hook Hook
		want string
	}{
		"nothing":                  {Hook{}, "[0]: a hook has either url or program"},
		"both":                     {Hook{URL: "https://x", Program: []string{"/bin/true"}}, "[0]: a hook has either url or program"},
		"no secret":                {Hook{URL: "https://hooks.example.org/x"}, "[0].secret-file: name the file"},
		"a secret nowhere":         {Hook{URL: "https://hooks.example.org/x", SecretFile: "/nowhere"}, "[0].secret-file: open /nowhere"},
		"a secret of the old form": {Hook{URL: "https://hooks.example.org/x", SecretFile: token}, "[0].secret-file: " + token + ": key 1: write whsec_"},
		"a URL that is none":       {Hook{URL: "hooks.example.org", SecretFile: key}, "[0].url: "},
		"a program by its name":    {Hook{Program: []string{"true"}}, "[0].program: "},
		"a preset that is none":    {Hook{Preset: "slak", SecretFile: web}, "[0].preset: \"slak\" is no service that is known: ntfy, slack, matrix, teams, email"},
		"a preset of a program":    {Hook{Preset: "ntfy", Program: []string{"/bin/true"}}, "[0]: a hook has either url or program"},
		"Slack with its URL here":  {Hook{Preset: "slack", URL: "https://hooks.slack.example/x"}, "[0]: the URL of slack is a secret"},
		"Slack without its URL":    {Hook{Preset: "slack"}, "[0].secret-file: name the file"},
		"Teams with a token":       {Hook{Preset: "teams", SecretFile: token}, "[0].secret-file: it is no URL"},
		"Matrix by an alias":       {Hook{Preset: "matrix", URL: "https://x.example", Room: "#a:x", SecretFile: token}, "[0].url: \"#a:x\" is no room"},
		"Matrix without a token":   {Hook{Preset: "matrix", URL: "https://x.example", Room: "!a:x"}, "[0].secret-file: name the file"},
		"a room of ntfy":           {Hook{Preset: "ntfy", URL: "https://x.example", Room: "!a:x"}, "[0].room: only a hook with preset: matrix"},
		"mail to Slack":            {Hook{Preset: "slack", SecretFile: web, To: []string{"a@x"}}, "[0].to: only a hook with preset: email"},
		"mail with no CA's file":   {badCA, "[0].ca: " + token + " has no certificate"},
		"approval by a guess":      {Hook{Program: []string{"/bin/true"}, Approve: "word"}, "[0].approve: \"word\" must be sign-in or words"},
		"a person without links":   {Hook{Program: []string{"/bin/true"}, Person: "ann"}, "[0].person: it says whose word a link is"},
		"labels that are none":     {Hook{Program: []string{"/bin/true"}, Labels: []string{"oslo"}}, "[0].labels: label \"oslo\": want key=value"},
		"mail without a password":  {userAlone, "[0].secret-file: name the file"},
	} {
		err := (&Hooks{row.hook}).check()
		if err == nil || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("%s: check = %v, want %s", name, err, row.want)
		}
	}
}

// Links need the page that they lead to.
func TestHookLinksNeedThePage(t *testing.T) {
	h := Hooks{{Program: []string{"/bin/true"}, Approve: ByWords}}
	for want, a := range map[string]Admin{
		"hooks[0].approve: links need the page": {Address: ":1"},
		"":                                      {Address: ":1", Page: AdminPage{URL: "https://kms.example.org"}},
	} {
		err := h.checkLinks(&a)
		if got := err != nil; got != (want != "") || got && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("with the page at %q: %v, want %q", a.Page.URL, err, want)
		}
	}
}
