// Package version says which latchkey a program is.
package version

import "runtime"

// number and commit are set by the Makefile: -X latchkey/internal/version.….
var number, commit = "unknown", "unknown"

// String is what --version tells: the version, the commit that it was built
// from, and the Go that built it.
func String() string { return number + " (commit " + commit + ", " + runtime.Version() + ")" }
