// Package docs holds pages that commands print parts of.
package docs

import _ "embed"

// Plan is plan.md, which describes latchkey.yaml.
//
//go:embed plan.md
var Plan string
