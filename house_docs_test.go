package latchkey_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are README, DESIGN and so on, and everything in docs.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md", "images/kubernetes/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			text, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			all[p] = string(text)
		}
	}
	return all
}

// TestThreatsNameTests: each test that docs/threats.md names exists.
func TestThreatsNameTests(t *testing.T) {
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, path := range goFiles(t) {
		if !strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			there[m[1]] = true
		}
	}
	for _, dir := range []string{"qemu-tests/scripts", "cmd/latchkey/testdata/script", "cmd/latchkey-kms/testdata/script"} {
		scripts, err := filepath.Glob(dir + "/*.txtar")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range scripts {
			there[filepath.Base(s)] = true
		}
	}

	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+|[a-z0-9-]+\\.txtar)`").FindAllStringSubmatch(pages(t)["docs/threats.md"], -1)
	if len(named) < 100 {
		t.Errorf("docs/threats.md names %d tests: is its form another?", len(named))
	}
	for _, m := range named {
		if !there[m[1]] && m[1] != "TestX" && m[1] != "x.txtar" {
			t.Errorf("docs/threats.md names %s, which does not exist", m[1])
		}
	}
}

// TestLinks: what a page links to inside of the repository exists, its
// heading too.
func TestLinks(t *testing.T) {
	all := pages(t)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for page, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			to := page
			if path != "" {
				to = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s, which does not exist", page, m[1])
			} else if anchor != "" && !anchors(all[to])[anchor] {
				t.Errorf("%s links to %s, which has no such heading", page, m[1])
			}
		}
	}
}

// TestContributing: the files that CONTRIBUTING.md and DESIGN.md name exist.
func TestContributing(t *testing.T) {
	path := regexp.MustCompile("`((?:boot|cmd|discover|docs|images|initramfs|internal|kms|netup|qemu-tests|unlock)/[a-z0-9_./-]+|house_[a-z_]+\\.go)`")
	for _, page := range []string{"CONTRIBUTING.md", "DESIGN.md"} {
		for _, m := range path.FindAllStringSubmatch(pages(t)[page], -1) {
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s names %s, which does not exist", page, m[1])
			}
		}
	}
}

// anchors are the names that headings of a page have as link targets.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		name := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
		name = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(name, "")
		all[strings.ReplaceAll(name, " ", "-")] = true
	}
	return all
}

// TestChangelog: CHANGELOG.md has the form of Keep a Changelog 1.1.0, by
// which make release finds a version's section.
func TestChangelog(t *testing.T) {
	heading := regexp.MustCompile(`^## \[(Unreleased|\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?\] - \d{4}-\d\d-\d\d$)`)
	kinds := regexp.MustCompile(`^### (Added|Changed|Deprecated|Removed|Fixed|Security)$`)
	text := pages(t)["CHANGELOG.md"]
	section, kind := "", ""
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "### "):
			if kind = line; !kinds.MatchString(line) {
				t.Errorf("CHANGELOG.md:%d: %q is no kind of change", i+1, line)
			}
		case strings.HasPrefix(line, "## "):
			if section, kind = line, ""; !heading.MatchString(line) {
				t.Errorf("CHANGELOG.md:%d: %q is neither [Unreleased] nor a version with its date", i+1, line)
			}
		case strings.HasPrefix(line, "- ") && (section == "" || kind == ""):
			t.Errorf("CHANGELOG.md:%d: a change stands under no version, or no kind of change", i+1)
		}
	}
	if !strings.HasPrefix(text, "# Changelog\n") || !strings.Contains(text, "\n## [Unreleased]\n") {
		t.Error("CHANGELOG.md lacks its title, or the section [Unreleased]")
	}
}
