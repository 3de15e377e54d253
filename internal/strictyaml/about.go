package strictyaml

import (
	"regexp"
	"strings"
)

// fieldRow is a row of a table of fields: "| `a.b`, `.c` | text | default |".
var fieldRow = regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|([^|]*)\\|([^|]*)\\|$")

// About reads what a page of the documentation says of keys, by their paths.
// In a table's first column `.c` stands beside the key before it, and `…c`
// below the last that ended in "[]".
func About(page string) map[string]string {
	about := map[string]string{}
	last, list := "", ""
	for _, row := range fieldRow.FindAllStringSubmatch(page, -1) {
		text := plainText(row[2])
		if value := plainText(row[3]); value != "" && value != "required" {
			text += " (default: " + value + ")"
		}
		for name := range strings.SplitSeq(row[1], ", ") {
			name = strings.Trim(name, "`")
			switch {
			case strings.HasPrefix(name, "."):
				name = last[:strings.LastIndex(last, ".")] + name
			case strings.HasPrefix(name, "…"):
				name = list + "." + strings.TrimPrefix(name, "…")
			case strings.HasSuffix(name, "[]"):
				list, name = name, strings.TrimSuffix(name, "[]")
			}
			about[name], last = text, name
		}
	}
	return about
}

// link is one of Markdown.
var link = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)

func plainText(markdown string) string {
	return strings.TrimSpace(strings.NewReplacer("`", "", "**", "").Replace(link.ReplaceAllString(markdown, "$1")))
}
