package plan

import (
	"slices"
	"strings"

	"latchkey/internal/endpoint"
)

// kmsHint has a KMS asked before those of the image. It must hold a key
// that the image pins, so anybody may name one.
func kmsHint(p *Plan, a Arg) string {
	url := a.Value
	if url != "" && !strings.Contains(url, "://") {
		url = "http://" + url
	}
	if _, err := endpoint.ParseURL(url); err != nil {
		return "want http://host[:port] or a host name: " + err.Error()
	}

	p.Find.URLs = slices.DeleteFunc(p.Find.URLs, func(u string) bool { return u == url })
	p.Find.URLs = slices.Insert(p.Find.URLs, 0, url)
	return ""
}

// kairosHint reads kairos.config=KEY=VALUE, which Kairos' own clients take.
func kairosHint(p *Plan, a Arg) string {
	key, value, ok := strings.Cut(a.Value, "=")
	if !ok || !strings.HasPrefix(key, "kcrypt.challenger.") {
		return "" // the real root's
	}
	apply := hintOf(canonical(key))
	if apply == nil {
		return "of Kairos' kcrypt.challenger options, challenger_server and mdns are read here"
	}
	return apply(p, Arg{Key: key, Value: value, HasValue: true, Pos: a.Pos})
}

func serviceHint(p *Plan, a Arg) string { return addService(p, a.Value) }

func kcryptHint(p *Plan, a Arg) string {
	if switchedOff(a) {
		return ""
	}
	return addService(p, "_kcrypt._tcp")
}

func addService(p *Plan, service string) string {
	if err := endpoint.CheckService(service); err != nil {
		return err.Error()
	}
	if !slices.Contains(p.Find.Services, service) {
		p.Find.Services = append(p.Find.Services, service)
	}
	return ""
}

func findTimeoutHint(p *Plan, a Arg) string { return lengthen(&p.Find.Timeout, a, "find.timeout") }

func reportHint(p *Plan, a Arg) string {
	on, err := parseBool(a)
	if err != nil {
		return err.Error()
	}
	p.Find.NoReport = !on
	return ""
}
