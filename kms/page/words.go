package page

import (
	"embed"
	"fmt"
	"html/template"
	"strings"
	"time"

	"latchkey/kms/server/lk1"
)

//go:embed templates
var templates embed.FS

// funcs are what templates say things with.
var funcs = template.FuncMap{
	"ago":   since,
	"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" },
	"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"words": strings.Fields,
	"asked": asked,
	"state": state,
	"list":  func(all ...any) []any { return all },
	"short": func(v any) string { return fmt.Sprintf("%.16s", v) },
	"tab":   tab,
}

// compare orders names.
func compare(a, b string) int { return strings.Compare(a, b) }

// since is when something was, in words.
func since(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return ago(time.Since(t))
}

// ago is a time that has passed, in words.
func ago(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := int(d / unit.of); n > 1 {
			return fmt.Sprintf("%d %ss ago", n, unit.name)
		} else if n == 1 {
			return "1 " + unit.name + " ago"
		}
	}
	return "just now"
}

// asked says why somebody should look at a volume that a machine asks for.
func asked(a lk1.Asked) string {
	switch a.Standing {
	case lk1.Stored:
		return "you stored its passphrase: approving gives it to this machine"
	case lk1.Owned:
		return "belongs to " + orAnother(a.Others) + ", and stays there"
	case lk1.Deleted:
		return "was deleted, and nobody gets it until it is undeleted"
	case lk1.Contested:
		return "also asked for by " + orAnother(a.Others)
	}
	return "nobody else has it"
}

// orAnother names machines, or says that it is one that is not named here.
func orAnother(words []string) string {
	if len(words) == 0 {
		return "another machine"
	}
	return strings.Join(words, ", ")
}

// state is a machine's state as a person would say it.
func state(n lk1.Node) string {
	switch {
	case n.Describe() == "approved" && n.Waits():
		return "booted something else"
	case n.Waits():
		return "waits for you"
	}
	return n.Describe()
}

// A tabView is an entry of the navigation.
type tabView struct {
	Path, Name string
	Here       bool
}

// tab tells whether a page is the one that is shown, or above it.
func tab(here, path, name string) tabView {
	return tabView{path, name, here == path || strings.HasPrefix(here, path+"/")}
}
