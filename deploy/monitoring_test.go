package deploy

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// promtoolEnv names Prometheus' tool.
const promtoolEnv = "LATCHKEY_PROMTOOL"

func promtool(t *testing.T, args ...string) {
	t.Helper()
	program := os.Getenv(promtoolEnv)
	switch {
	case program == "" && os.Getenv("CI") == "true":
		t.Fatalf("needs promtool: %s=$(images/promtool)", promtoolEnv)
	case program == "":
		t.Skipf("needs promtool: %s=$(images/promtool)", promtoolEnv)
	}
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// compatible: Release | Prometheus' promtool 2.42 | the alerts, and what they do in ninety minutes of made-up metrics
//
// The alerts are read by Prometheus, and each is raised when it should be and
// not before.
func TestAlerts(t *testing.T) {
	promtool(t, "check", "rules", "monitoring/alerts.yaml")
	promtool(t, "test", "rules", "monitoring/alerts_test.yaml")
}

// exprs are the expressions of the dashboard, as Prometheus gets them.
func exprs(t *testing.T) (all []string) {
	t.Helper()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile("monitoring/dashboard.json")
	if err == nil {
		err = json.Unmarshal(text, &board)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", p.Title)
		}
		for _, one := range p.Targets {
			all = append(all, strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(one.Expr))
		}
	}
	return all
}

// The expressions of the dashboard are PromQL.
func TestDashboard(t *testing.T) {
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	type group struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	}
	g := group{Name: "dashboard"}
	for i, expr := range exprs(t) {
		g.Rules = append(g.Rules, rule{"panel:" + strings.Repeat("x", i+1), expr})
	}
	text, err := yaml.Marshal(map[string][]group{"groups": {g}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}

// Every metric of alerts and dashboard is one that the key server has.
func TestMetricNames(t *testing.T) {
	have := map[string]bool{}
	named := regexp.MustCompile(`"(latchkey_[a-z_]+)"`)
	err := filepath.WalkDir("../kms", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			have[m[1]] = true
		}
		return err
	})
	if err != nil || len(have) < 15 {
		t.Fatalf("the key server has %d metrics: %v", len(have), err)
	}
	text, err := os.ReadFile("monitoring/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`latchkey_[a-z_]+`)
	for _, name := range used.FindAllString(string(text)+strings.Join(exprs(t), " "), -1) {
		name = strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")
		if !have[name] {
			t.Errorf("nothing has the metric %s", name)
		}
	}
}
