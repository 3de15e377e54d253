// Package witnesstest is a witness of transparency logs in this process, by
// the text of C2SP tlog-witness: it cosigns what its log proves to have grown.
package witnesstest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const name = "witness.example/w1"

// A Witness cosigns logs.
type Witness struct {
	URL  string
	VKey string // for who verifies its cosignatures

	key  ed25519.PrivateKey
	logs note.Verifiers

	mu   sync.Mutex
	seen map[string]tlog.Tree // by origin
	asks int
}

// Start runs one that knows logs by their verifier keys.
func Start(t testing.TB, logs ...string) *Witness {
	t.Helper()
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("w", ed25519.SeedSize)))
	kindKey := append([]byte{4}, key.Public().(ed25519.PublicKey)...)
	w := &Witness{key: key, seen: map[string]tlog.Tree{}}
	w.VKey = fmt.Sprintf("%s+%08x+%s", name, id(kindKey), base64.StdEncoding.EncodeToString(kindKey))
	var known []note.Verifier
	for _, text := range logs {
		v, err := note.NewVerifier(text)
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, v)
	}
	w.logs = note.VerifierList(known...)
	web := httptest.NewServer(http.HandlerFunc(w.add))
	t.Cleanup(web.Close)
	w.URL = web.URL
	return w
}

func id(kindKey []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), kindKey...))
	return binary.BigEndian.Uint32(sum[:])
}

// Seen is how large it has seen a log, and Asks how often it was asked.
func (w *Witness) Seen(origin string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[origin].N
}

// Asks is how often it was asked.
func (w *Witness) Asks() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asks
}

// Forget makes it a witness that has seen another tree of a log.
func (w *Witness) Forget(origin string, tree tlog.Tree) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[origin] = tree
}

func (w *Witness) add(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asks++
	body, _ := io.ReadAll(r.Body)
	head, checkpoint, ok := strings.Cut(string(body), "\n\n")
	lines := strings.Split(head, "\n")
	var old int64
	if n, _ := fmt.Sscanf(lines[0], "old %d", &old); !ok || n != 1 || r.URL.Path != "/add-checkpoint" || r.Method != http.MethodPost {
		http.Error(out, "no add-checkpoint", http.StatusBadRequest)
		return
	}
	n, err := note.Open([]byte(checkpoint), w.logs)
	if err != nil {
		http.Error(out, err.Error(), http.StatusForbidden)
		return
	}
	text := strings.Split(n.Text, "\n")
	var size int64
	fmt.Sscanf(text[1], "%d", &size)
	root, err := tlog.ParseHash(text[2])
	if err != nil || old > size {
		http.Error(out, "bad checkpoint", http.StatusBadRequest)
		return
	}
	if seen := w.seen[text[0]]; seen.N != old {
		out.Header().Set("Content-Type", "text/x.tlog.size")
		out.WriteHeader(http.StatusConflict)
		fmt.Fprintln(out, seen.N)
		return
	}
	if !w.follows(text[0], tlog.Tree{N: size, Hash: root}, lines[1:]) {
		http.Error(out, "not consistent", http.StatusUnprocessableEntity)
		return
	}
	w.seen[text[0]] = tlog.Tree{N: size, Hash: root}
	fmt.Fprint(out, w.Cosign(n.Text))
}

func (w *Witness) follows(origin string, next tlog.Tree, lines []string) bool {
	seen := w.seen[origin]
	var proof tlog.TreeProof
	for _, line := range lines {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return false
		}
		proof = append(proof, h)
	}
	switch seen.N {
	case 0:
		return len(proof) == 0
	case next.N:
		return len(proof) == 0 && seen.Hash == next.Hash
	}
	return tlog.CheckTree(proof, next.N, next.Hash, seen.N, seen.Hash) == nil
}

// Cosign is its line under a checkpoint's text.
func (w *Witness) Cosign(text string) string {
	now := uint64(time.Now().Unix())
	sig := ed25519.Sign(w.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", now, text))
	kindKey := append([]byte{4}, w.key.Public().(ed25519.PublicKey)...)
	raw := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, id(kindKey)), now)
	return fmt.Sprintf("— %s %s\n", name, base64.StdEncoding.EncodeToString(append(raw, sig...)))
}
