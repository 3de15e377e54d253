// Package latchkey_test holds the house to its own rules: who may import
// what (DESIGN.md, "Folders"), and how large the init may be.
package latchkey_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// rules say which packages a folder's code may not reach, directly or
// through others. A name that ends in "/" is a whole tree.
var rules = []struct {
	folder string
	never  []string
	why    string
}{
	{"cmd/init", []string{
		"flag", "os/exec", "net/http", "crypto/tls", "text/template", "html/template", "google.golang.org/", "k8s.io/", "go.yaml.in/", "gopkg.in/", "latchkey/boot/boottest",
		"github.com/google/go-eventlog/", "github.com/spf13/", "github.com/miekg/", "github.com/grandcat/", "go.etcd.io/", "github.com/anatol/",
	}, "the init is small and runs nothing else"},
	{"cmd/kcrypt-discovery-challenger", []string{"latchkey/kms/server", "latchkey/kms/store", "latchkey/boot", "latchkey/boot/worker", "net/http", "github.com/gorilla/"}, "a client, of few megabytes"},
	{"cmd/latchkey-agent", []string{"latchkey/boot", "latchkey/boot/boottest", "latchkey/initramfs", "latchkey/kms/server", "net/http", "google.golang.org/"}, "it is no init and builds no image"},
	{"cmd/latchkey", []string{"latchkey/kms/server", "latchkey/kms/store", "latchkey/boot", "latchkey/boot/worker", "latchkey/boot/latch", "latchkey/boot/wire"}, "the operator's command is no key server and no init"},
	{"cmd/latchkey-kms", []string{"latchkey/boot", "latchkey/netup"}, "the key server boots nothing"},
	{"cmd/latchkey-kms", []string{"latchkey/kms/bench", "latchkey/kms/softtpm", "latchkey/kms/server/kairos/kairostest", "latchkey/kms/server/eventlog/eventlogtest", "testing"}, "production links no test double"},
	{"kms/backup", []string{"latchkey/kms/ledger", "latchkey/kms/server", "latchkey/kms/store", "latchkey/kms/store/", "latchkey/kms/home", "latchkey/kms/config"}, "copies files, and knows no database"},
	{"kms/config", []string{"latchkey/kms/store", "latchkey/kms/store/", "latchkey/kms/server", "latchkey/kms/home", "net/http/httptest"}, "values; home and daemon act on them"},
	{"kms/home", []string{"latchkey/kms/daemon", "latchkey/kms/operator", "latchkey/discover"}, "the data directory answers nobody"},
	{"kms/operator", []string{"latchkey/kms/daemon", "latchkey/discover"}, "questions; the daemon answers them"},
	{"cmd/latchkey-responder", []string{"latchkey/kms/server", "latchkey/unlock/"}, "the responder holds no secret"},
	{"internal/plan", []string{"github.com/", "golang.org/", "latchkey/boot/module", "latchkey/netup"}, "a leaf that image build and init share"},
	{"boot", []string{
		"net/http", "os/exec", "latchkey/netup", "latchkey/discover", "latchkey/kms", "latchkey/unlock", "latchkey/unlock/luks2", "latchkey/unlock/dm", "latchkey/unlock/tpm",
		"latchkey/boot/device", "latchkey/boot/worker", "latchkey/boot/latch", "latchkey/initramfs", "github.com/",
	}, "PID 1 reads nothing that an outsider writes"},
	{"boot/codes", []string{"latchkey/boot", "latchkey/kms", "latchkey/unlock", "golang.org/", "github.com/"}, "a leaf that the commands use, too"},
	{"boot/report", []string{"latchkey/boot", "golang.org/", "github.com/"}, "a leaf that the commands use, too"},
	{"boot/wire", []string{"latchkey/boot", "latchkey/kms", "latchkey/unlock", "github.com/"}, "what PID 1 reads of its children"},
	{"boot/latch", []string{"latchkey/boot", "latchkey/boot/worker", "latchkey/netup", "latchkey/discover", "latchkey/unlock", "latchkey/unlock/luks2"}, "the latch speaks to PID 1 and the TPM"},
	{"boot/agent", []string{"latchkey/boot", "latchkey/initramfs", "net/http"}, "it knows nothing of PID 1"},
	{"boot/worker", []string{"latchkey/boot", "latchkey/boot/latch"}, "PID 1 starts it, and it knows nothing of PID 1"},
	{"unlock/dm/control", []string{"latchkey/unlock", "latchkey/unlock/luks2", "latchkey/internal/secret"}, "PID 1 links it"},
	{"netup", []string{"latchkey/discover", "latchkey/kms", "os/exec", "net/http"}, "links know nothing of what is found on them"},
	{"discover", []string{"latchkey/kms", "latchkey/netup", "os/exec", "net/http", "github.com/miekg/"}, "what is found is never trusted here"},
	{"unlock", []string{"latchkey/discover", "latchkey/netup", "net/http"}, "sources do not search"},
	{"unlock/source", []string{"latchkey/boot", "latchkey/boot/worker", "latchkey/internal/plan"}, "sources know no plan and no boot"},
	{"unlock/source/clevis", []string{"latchkey/boot", "latchkey/boot/worker", "latchkey/discover", "latchkey/internal/plan", "net/http", "crypto/tls"}, "sources know no plan and no boot, and do not search"},
	{"unlock/source/cryptenroll", []string{"latchkey/boot", "latchkey/boot/worker", "latchkey/internal/plan", "crypto/x509"}, "sources know no plan and no boot"},
	{"unlock/source/kairos", []string{"latchkey/boot", "latchkey/boot/worker", "latchkey/discover", "latchkey/internal/plan", "latchkey/kms/server/kairos", "net/http", "crypto/tls", "crypto/x509"}, "sources know no plan and no boot, and do not search"},
	{"unlock/source/keyfile", []string{"latchkey/boot", "latchkey/boot/worker", "latchkey/boot/device", "latchkey/internal/plan"}, "sources know no plan and no boot"},
	{"unlock/source/talos", []string{"latchkey/boot", "latchkey/boot/worker", "latchkey/discover", "latchkey/internal/plan", "net/http", "crypto/tls", "crypto/x509", "google.golang.org/"}, "sources know no plan and no boot, and do not search"},
	{"internal/unary", []string{"net/http", "net/url", "golang.org/x/net/http2", "google.golang.org/"}, "the init links it: HTTP/2 by hand"},
	{"unlock/source/together", []string{"latchkey/boot", "latchkey/boot/worker", "latchkey/internal/plan", "latchkey/unlock/tpm", "latchkey/unlock/source/cryptenroll", "latchkey/unlock/source/keyfile"}, "none knows of another"},
	{"unlock/source/prompt", []string{"latchkey/boot", "latchkey/boot/worker", "latchkey/internal/plan"}, "sources know no plan and no boot"},
	{"unlock/luks2", []string{"latchkey/unlock/dm", "os/exec"}, "headers are judged from bytes"},
	{"unlock/lvm", []string{"latchkey/unlock", "latchkey/unlock/dm", "latchkey/boot/", "os/exec", "golang.org/", "github.com/"}, "metadata is judged from bytes"},
	{"unlock/bcache", []string{"latchkey/unlock", "latchkey/boot/", "os/exec", "golang.org/", "github.com/"}, "superblocks are judged from bytes"},
	{"unlock/md", []string{"latchkey/unlock", "latchkey/unlock/dm", "latchkey/boot/", "os/exec", "golang.org/", "github.com/"}, "superblocks are judged from bytes"},
	{"unlock/md/control", []string{"latchkey/unlock", "latchkey/boot/", "os/exec", "github.com/"}, "sysfs and nothing else"},
	{"unlock/tpm", []string{"github.com/google/go-attestation/"}, "the direct API only"},
	{"kms", []string{"latchkey/kms/server", "latchkey/unlock", "net/http", "crypto/tls"}, "the init links it"},
	{"kms/front", []string{"latchkey/kms", "latchkey/kms/ledger", "latchkey/kms/admin", "latchkey/kms/server", "latchkey/kms/server/", "latchkey/kms/store"}, "listeners know no protocol"},
	{"kms/ledger", []string{"latchkey/kms/admin", "latchkey/kms/front", "latchkey/kms/server", "latchkey/kms/server/", "latchkey/kms/store/", "latchkey/unlock"}, "the ledger knows no protocol"},
	{"kms/admin", []string{"latchkey/kms/server", "latchkey/kms/server/", "latchkey/kms/store/", "latchkey/unlock"}, "administers what it is given"},
	{"kms/page", []string{"latchkey/kms/server", "latchkey/kms/store/", "latchkey/kms/home", "latchkey/kms/config"}, "does what the API does, for who is signed in"},
	{"kms/server", []string{"latchkey/unlock"}, "the server trusts nothing of the node's code"},
	{"kms/server/attest", []string{"latchkey/kms/ledger", "latchkey/kms/store", "net/http"}, "judges what a TPM says, and keeps nothing"},
	{"kms/server/eventlog", []string{"latchkey/kms/ledger", "latchkey/kms/store", "latchkey/kms/server/policy", "net/http"}, "reads what a machine says, and keeps nothing"},
	{"kms/server/fleet", []string{"latchkey/kms/server", "latchkey/kms/server/lk1", "latchkey/kms/server/kairos", "latchkey/kms/server/talos", "latchkey/kms/server/policy", "latchkey/kms/admin", "latchkey/kms/front"}, "machines of any protocol"},
	{"boot/beat", []string{"latchkey/boot", "latchkey/boot/worker", "latchkey/initramfs", "latchkey/kms/server", "net/http", "os/exec"}, "knows a key, servers and a clock"},
	{"kms/server/presence", []string{"latchkey/kms/server", "latchkey/kms/server/lk1", "latchkey/kms/server/fleet", "latchkey/kms/admin", "net/http"}, "sights and tickets; what a machine is, is not known here"},
	{"kms/server/release", []string{"latchkey/kms/server", "latchkey/kms/server/lk1", "latchkey/kms/admin", "net/http"}, "kept and judged, whoever asks"},
	{"kms/server/lk1", []string{"latchkey/kms/server", "latchkey/kms/server/kairos", "latchkey/kms/server/kairos/", "latchkey/kms/server/talos", "latchkey/kms/server/talos/", "latchkey/kms/server/k8s", "latchkey/kms/server/k8s/", "latchkey/kms/server/tang", "latchkey/kms/server/tang/"}, "no protocol sees another's tables"},
	{"kms/server/site", []string{"latchkey/kms/server", "latchkey/kms/server/kairos", "latchkey/kms/server/kairos/", "latchkey/kms/server/talos", "latchkey/kms/server/talos/", "latchkey/kms/server/k8s", "latchkey/kms/server/k8s/", "latchkey/kms/server/tang", "latchkey/kms/server/tang/", "latchkey/kms/store/"}, "machines are what Nodes says; no row of theirs is read here"},
	{"kms/server/tang/keeper", []string{"latchkey/kms/server", "latchkey/kms/server/lk1", "latchkey/kms/server/kairos", "latchkey/kms/server/kairos/", "latchkey/kms/server/talos", "latchkey/kms/server/talos/", "latchkey/kms/server/k8s", "latchkey/kms/server/k8s/"}, "no protocol sees another's tables"},
	{"kms/server/kairos/keeper", []string{"latchkey/kms/server", "latchkey/kms/server/lk1", "latchkey/kms/server/talos", "latchkey/kms/server/talos/", "latchkey/kms/server/k8s", "latchkey/kms/server/k8s/"}, "no protocol sees another's tables"},
	{"kms/server/talos/keeper", []string{"latchkey/kms/server", "latchkey/kms/server/lk1", "latchkey/kms/server/kairos", "latchkey/kms/server/kairos/", "latchkey/kms/server/k8s", "latchkey/kms/server/k8s/"}, "no protocol sees another's tables"},
	{"kms/server/k8s/keeper", []string{"latchkey/kms/server", "latchkey/kms/server/lk1", "latchkey/kms/server/kairos", "latchkey/kms/server/kairos/", "latchkey/kms/server/talos", "latchkey/kms/server/talos/"}, "no protocol sees another's tables"},
	{"kms/server/kairos", []string{"latchkey/kms/server", "latchkey/kms/ledger", "latchkey/kms/store"}, "protocols ask a Keeper"},
	{"kms/server/talos", []string{"latchkey/kms/server", "latchkey/kms/ledger", "latchkey/kms/store"}, "protocols ask a Keeper"},
	{"kms/server/k8s", []string{"latchkey/kms/server", "latchkey/kms/ledger", "latchkey/kms/store"}, "protocols ask a Keeper"},
	{"kms/server/tang", []string{"latchkey/kms/server", "latchkey/kms/ledger", "latchkey/kms/store"}, "protocols ask a Keeper"},
	{"kms/server/rpc", []string{"latchkey/kms/server", "latchkey/kms/store"}, "limits, whatever is asked"},
	{"kms/server/metrics", []string{"latchkey/kms/server", "latchkey/kms/store"}, "counts, and knows nothing"},
	{"kms/wrapping", []string{"latchkey/unlock", "latchkey/kms/server"}, "the host's own TPM, not a node's"},
	{"kms/store", []string{"latchkey/kms/server"}, "stores keep, servers decide"},
	{"initramfs/uki", []string{"latchkey/boot", "latchkey/internal/plan", "latchkey/internal/disk", "latchkey/internal/secret", "latchkey/kms", "latchkey/unlock"}, "files in, a file out"},
	{"internal/tlsclient", []string{"net/http", "latchkey/boot/", "latchkey/kms", "latchkey/unlock", "golang.org/", "github.com/"}, "an init links it"},
	{"internal/pcr", []string{"latchkey/kms", "latchkey/internal/plan", "github.com/", "golang.org/"}, "a leaf that image build and key server share"},
	{"initramfs", []string{"latchkey/netup", "latchkey/unlock/"}, "building an image touches no machine"},
}

// TestInitWithTLS: it has TLS by crypto/tls, and nothing else that the small
// one may not have.
func TestInitWithTLS(t *testing.T) {
	deps := strings.Fields(output(t, "go", "list", "-deps", "-tags", "tls", "./cmd/init"))
	if !slices.Contains(deps, "crypto/tls") {
		t.Error("cmd/init with the tag tls reaches no crypto/tls")
	}
	for _, d := range deps {
		for _, n := range rules[0].never {
			if n != "crypto/tls" && (d == n || strings.HasSuffix(n, "/") && strings.HasPrefix(d, n)) {
				t.Errorf("cmd/init with the tag tls reaches %s: %s", d, rules[0].why)
			}
		}
	}
}

func TestImports(t *testing.T) {
	for _, r := range rules {
		deps := strings.Fields(output(t, "go", "list", "-deps", "./"+r.folder))
		for _, d := range deps {
			for _, n := range r.never {
				if d == n || strings.HasSuffix(n, "/") && strings.HasPrefix(d, n) {
					t.Errorf("%s reaches %s: %s", r.folder, d, r.why)
				}
			}
		}
	}
}

// direct says what a folder's own code may not import itself.
var direct = []struct {
	folder string
	never  []string
	why    string
}{
	{"cmd/latchkey-kms", []string{"crypto", "crypto/", "net", "net/http", "latchkey/kms/store", "latchkey/kms/store/", "latchkey/discover"}, "commands hold no logic: kms/config, home, operator and daemon do"},
}

func TestImportsOfItsOwn(t *testing.T) {
	for _, r := range direct {
		for _, d := range strings.Fields(output(t, "go", "list", "-f", `{{join .Imports "\n"}}`, "./"+r.folder)) {
			for _, n := range r.never {
				if d == n || strings.HasSuffix(n, "/") && strings.HasPrefix(d, n) {
					t.Errorf("%s imports %s: %s", r.folder, d, r.why)
				}
			}
		}
	}
}

// TestNoLegacyTPM looks at our own imports only: go-tpm's transports reach
// its legacy package themselves.
func TestNoLegacyTPM(t *testing.T) {
	if out := output(t, "go", "list", "-f", "{{.ImportPath}}: {{.Imports}}", "./..."); strings.Contains(out, "go-tpm/legacy") {
		t.Errorf("a package of ours imports go-tpm/legacy:\n%s", out)
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return string(out)
}

// The inits' budgets, in bytes: DESIGN.md, "Dependencies".
var budgets = []struct {
	arch, tags        string
	plain, compressed int
}{
	{"amd64", "", 9_000_000, 3_000_000},
	{"arm64", "", 9_000_000, 3_000_000},
	{"amd64", "tls", 10_500_000, 3_500_000},
	{"arm64", "tls", 10_500_000, 3_500_000},
}

// initFlags are those that the Makefile builds the init with.
func initFlags(t *testing.T) []string {
	t.Helper()
	flags := output(t, "make", "--no-print-directory", "-s", "init-flags")
	return strings.Fields(flags)
}

// TestInitBudget also looks at what the Makefile's flags make --version say.
func TestInitBudget(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(19)))
	if err != nil {
		t.Fatal(err)
	}
	for _, budget := range budgets {
		init := filepath.Join(t.TempDir(), "init")
		ldflags := output(t, "make", "--no-print-directory", "-s", "ld-flags", "VERSION=1.2.3", "COMMIT="+commit)
		t.Setenv("GOARCH", budget.arch)
		output(t, "go", slices.Concat([]string{"build", "-trimpath", "-ldflags=" + ldflags, "-tags", budget.tags}, initFlags(t), []string{"-o", init, "./cmd/init"})...)
		data, err := os.ReadFile(init)
		if err != nil {
			t.Fatal(err)
		}

		compressed := len(z.EncodeAll(data, nil))
		t.Logf("%s %s: %d bytes, %d as in an image", budget.arch, budget.tags, len(data), compressed)
		if len(data) > budget.plain || compressed > budget.compressed {
			t.Errorf("%s %s: the init has %d bytes and %d compressed, want at most %d and %d", budget.arch, budget.tags, len(data), compressed, budget.plain, budget.compressed)
		}
		if budget.arch != runtime.GOARCH {
			continue
		}
		if got, want := output(t, init, "--version"), "latchkey-init version 1.2.3 (commit "+commit+", "+runtime.Version()+")\n"; got != want {
			t.Errorf("--version of the init says %q, want %q", got, want)
		}
	}
}

// manyFold are algorithms that are compiled anew for each type that is sorted.
var manyFold = regexp.MustCompile(`^latchkey/\S+ -> slices\.(pdqsort|stable|Sort|SortStable|Sorted|SortedStable)(Cmp)?Func\[`)

// TestLinked looks at what the linker keeps for the init: one call of
// reflect's Method by name makes it keep every exported method of every type,
// and package slices has a sort of its own for each type.
func TestLinked(t *testing.T) {
	cmd := exec.Command("go", "build", "-tags", "tls", "-ldflags=-dumpdep", "-o", filepath.Join(t.TempDir(), "init"), "./cmd/init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte("ReflectMethod")) {
			t.Errorf("the linker keeps all methods because of: %s", line)
		}
		if manyFold.Match(line) {
			t.Errorf("sort with internal/order: %.200s", line)
		}
	}
}
