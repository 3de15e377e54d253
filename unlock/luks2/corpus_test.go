package luks2_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/unlock/luks2"
)

// corpus is all volumes of corpus_rows_test.go.
func corpus() []made {
	all := slices.Concat(formatRows(), keyslotsMade(), luks1Made())
	for _, t := range tokensMade {
		all = append(all, made{"a token " + t.name, fast, [][]string{{"token", "import", "--token-id", "3", "DISK", "<" + t.token}}, "opens", nil})
	}
	return all
}

// Each volume that cryptsetup makes is opened, or refused with the reason,
// as its owner expects; what we write into it leaves all else as it was
// (faults/peers.md I1, I2, I8; faults/node.md H8; faults/field.md P9 to P11).
func TestCorpus(t *testing.T) {
	if n := len(corpus()); n < 60 {
		t.Errorf("the corpus has %d volumes, want at least 60", n)
	}
	for _, m := range corpus() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			path := m.make(t)
			d := load(t, path)
			h, err := readAny(d)
			if want, refused := strings.CutPrefix(m.verdict, "refused "); refused || err != nil {
				if !refused || code(err) != want {
					t.Fatalf("Read = %v, want %s", err, m.verdict)
				}
				return
			}

			m.checkSkips(t, h)
			m.checkOpens(t, h, d, path)
			if h.Type() == "LUKS2" {
				sameObjects(t, h, path)
				if m.verdict != "shut" {
					changeKeepsAll(t, h, d, path)
				}
			}
		})
	}
}

// make has cryptsetup make the volume.
func (m made) make(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	path, key, other := filepath.Join(dir, "disk.img"), filepath.Join(dir, "key"), filepath.Join(dir, "other")
	format, size := m.luksFormat()
	err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size),
		os.WriteFile(key, []byte(passphrase), 0o600), os.WriteFile(other, []byte("other"), 0o600))
	if err != nil {
		t.Fatal(err)
	}

	for _, c := range append([][]string{format}, m.then...) {
		c, stdin := slices.Clone(c), ""
		if last := c[len(c)-1]; strings.HasPrefix(last, "<") {
			c, stdin = c[:len(c)-1], last[1:]
		}
		for j, a := range c {
			c[j] = strings.NewReplacer("DISK", path, "KEY", key, "OTHER", other).Replace(a)
		}
		cryptsetup(t, stdin, c...)
	}

	return path
}

// luksFormat is the first command, and how large the image is: small where
// the row does not say where the payload lies.
func (m made) luksFormat() (command args, size int64) {
	command = append(args{"luksFormat", "-q", "--key-file", "KEY", "DISK"}, m.format...)
	if slices.Contains(m.format, "luks1") {
		return command, 24 << 20
	}
	command = append(command, "--type", "luks2")
	placed := func(a string) bool {
		return a == "--offset" || a == "--align-payload" || strings.HasPrefix(a, "--luks2-")
	}
	if slices.ContainsFunc(m.format, placed) {
		return command, 24 << 20
	}
	return append(command, "--offset", "8192"), 5 << 20
}

func readAny(d disk) (*luks2.Header, error) {
	h, err := read(d)
	if errors.Is(err, luks2.ErrLUKS1) {
		return readLUKS1(d)
	}
	return h, err
}

func (m made) checkSkips(t *testing.T, h *luks2.Header) {
	t.Helper()
	got := map[int]string{}
	for _, s := range h.Skipped() {
		got[s.ID] = s.Reason.Code()
	}
	want := m.skips
	if want == nil {
		want = map[int]string{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keyslots skipped (-want +got):\n%s", diff)
	}
}

// checkOpens opens the volume with the volume key that cryptsetup finds.
func (m made) checkOpens(t *testing.T, h *luks2.Header, d disk, path string) {
	t.Helper()
	slot := luks2.AnySlot
	if m.verdict == "opens by number" {
		slot = 0
	}
	key, _, err := unlock(h, d, passphrase, slot)
	if m.verdict == "shut" {
		if err == nil {
			t.Error("Unlock succeeds")
		}
		return
	}
	if err != nil {
		t.Fatalf("Unlock = %v", err)
	}

	if slot != luks2.AnySlot { // luksDump takes no number
		return
	}
	file := filepath.Join(t.TempDir(), "volume.key")
	cryptsetup(t, passphrase, "luksDump", "-q", "--key-file", "-", "--dump-volume-key", "--volume-key-file", file, path)
	if want := load(t, file); !slices.Equal(key.Bytes().Reveal(), []byte(want)) {
		t.Error("Unlock: not the volume key that cryptsetup finds")
	}
}

// metadata is what cryptsetup reads of an image.
func dumpJSON(t *testing.T, path string) (all map[string]map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(cryptsetup(t, "", "luksDump", "--dump-json-metadata", path)), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// sameObjects compares the numbers of keyslots and tokens with cryptsetup's.
func sameObjects(t *testing.T, h *luks2.Header, path string) {
	t.Helper()
	all, ours := dumpJSON(t, path), map[string]map[string]bool{"keyslots": {}, "tokens": {}}
	for _, k := range h.Keyslots() {
		ours["keyslots"][fmt.Sprint(k.ID)] = true
	}
	for _, k := range h.Skipped() {
		ours["keyslots"][fmt.Sprint(k.ID)] = true
	}
	for _, k := range h.Tokens() {
		ours["tokens"][fmt.Sprint(k.ID)] = true
	}
	for kind, got := range ours {
		want := map[string]bool{}
		for id := range all[kind] {
			want[id] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-cryptsetup +ours):\n%s", kind, diff)
		}
	}
}

// changeKeepsAll adds a key and its token, removes both, and finds
// cryptsetup's reading of the header as it was, and all keys opening.
func changeKeepsAll(t *testing.T, h *luks2.Header, d disk, path string) {
	t.Helper()
	before := dumpJSON(t, path)
	key, _, err := unlock(h, d, passphrase, luks2.AnySlot)
	if err != nil {
		key, _, err = unlock(h, d, passphrase, 0)
	}
	if err != nil {
		t.Fatal(err)
	}

	added := random(randomKey)
	added.Token = func(slot int) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"type":"latchkey","keyslots":["%d"]}`, slot))
	}
	after, slot, err := h.AddKey(d, key, added)
	if code(err) == "keyslot-area" { // no room
		return
	}
	if err != nil {
		t.Fatalf("AddKey = %v", err)
	}

	changed := save(t, d)
	cryptsetup(t, randomKey, "open", "--test-passphrase", "--key-file", "-", changed)
	for _, s := range slices.Concat(ids(h.Keyslots()), skipped(h.Skipped())) {
		opens := false
		for _, pass := range []string{passphrase, "other"} {
			_, err := runCryptsetup(t, pass, "open", "--test-passphrase", "--key-file", "-", "--key-slot", fmt.Sprint(s), changed)
			if opens = err == nil; opens {
				break
			}
		}
		if !opens {
			t.Errorf("cryptsetup no longer opens keyslot %d after AddKey", s)
		}
	}

	token := slices.IndexFunc(after.Tokens(), func(t luks2.Token) bool { return t.Type == "latchkey" })
	if token < 0 {
		t.Fatal("AddKey wrote no token")
	}
	if _, err := after.RemoveKey(d, slot, after.Tokens()[token].ID); err != nil {
		t.Fatalf("RemoveKey = %v", err)
	}
	if diff := cmp.Diff(before, dumpJSON(t, save(t, d))); diff != "" {
		t.Errorf("cryptsetup reads another header (-before +after adding and removing a key):\n%s", diff)
	}
}

func ids(slots []luks2.Keyslot) (list []int) {
	for _, s := range slots {
		list = append(list, s.ID)
	}
	return list
}

func skipped(slots []luks2.SkippedKeyslot) (list []int) {
	for _, s := range slots {
		list = append(list, s.ID)
	}
	return list
}
