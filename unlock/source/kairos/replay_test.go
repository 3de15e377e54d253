package kairos

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/tpm"
)

// A recording is one connection of Kairos' client: heads and frames.
type recording struct {
	number                 int
	request                string
	client, server, opcode []string // opcode of the client's frames
}

func recordings(t *testing.T, file string) (out []recording) {
	t.Helper()
	text, err := os.ReadFile("../../../kms/server/kairos/testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	frame := regexp.MustCompile(`(?m)^\[[^\]]*\] (C>S|S>C): WS ([A-Z]+) [^\n]*\n([^\n]*)$`)
	head := regexp.MustCompile(`(?ms)^GET [^\n]*\n.*?\n\n`)
	for i, c := range strings.Split(string(text), "=== connection ")[1:] {
		r := recording{number: i + 1, request: head.FindString(c)}
		for _, f := range frame.FindAllStringSubmatch(c, -1) {
			if f[1] == "C>S" {
				r.client, r.opcode = append(r.client, f[3]), append(r.opcode, f[2])
			} else {
				r.server = append(r.server, f[3])
			}
		}
		out = append(out, r)
	}
	return out
}

// A replayed TPM is the one of a recording.
type replayed struct {
	spki   []byte
	ak     tpm.AttestationKey
	opened []byte
	quote  kms.Quote
	sealed []byte // what it encrypted
	asked  credential
	made   int // attestation keys
}

func (r *replayed) SPKI() []byte                { return r.spki }
func (r *replayed) AK() tpm.AttestationKey      { return r.ak }
func (r *replayed) Renew(context.Context) error { r.made++; return nil }

func (r *replayed) Prove(_ context.Context, blob, seed []byte) (secret.Bytes, kms.Quote, error) {
	r.asked = credential{blob, seed}
	return secret.Own(bytes.Clone(r.opened)), r.quote, nil
}

func (r *replayed) Decrypt(_ context.Context, sealed []byte) (secret.Bytes, error) {
	r.sealed = sealed
	return secret.Own([]byte("decrypted")), nil
}

// replay plays the server of recordings, one connection after the other, and
// tells what the client sent: heads, and frames with their opcodes.
func replay(t *testing.T, all ...recording) (Server, <-chan recording) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan recording, len(all))
	go func() {
		defer close(got)
		for _, r := range all {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			got <- play(conn, r)
		}
	}()
	t.Cleanup(func() { l.Close() })
	u, err := ParseURL("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return Server{u, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}}, got
}

func play(conn net.Conn, r recording) (got recording) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for !strings.HasSuffix(got.request, "\r\n\r\n") {
		line, err := in.ReadString('\n')
		if err != nil {
			return got
		}
		got.request += line
	}
	_, rest, _ := strings.Cut(got.request, "Sec-WebSocket-Key: ")
	key, _, _ := strings.Cut(rest, "\r\n")
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	legacy := !strings.Contains(r.request, attestationPath)
	for i := range max(len(r.client), len(r.server)) {
		if legacy && i < len(r.server) {
			send(conn, r.server[i])
		}
		if i < len(r.client) {
			op, text, err := receive(in)
			if err != nil {
				return got
			}
			got.opcode, got.client = append(got.opcode, op), append(got.client, text)
		}
		if !legacy && i < len(r.server) {
			send(conn, r.server[i])
		}
	}
	return got
}

func send(conn net.Conn, text string) {
	head := []byte{0x81, byte(len(text))}
	if len(text) > 125 {
		head = []byte{0x81, 126, byte(len(text) >> 8), byte(len(text))}
	}
	conn.Write(append(head, text...))
}

// receive reads one masked frame.
func receive(in *bufio.Reader) (op, text string, err error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return "", "", err
	}
	n := int(head[1] & 0x7f)
	if n == 126 {
		var more [2]byte
		io.ReadFull(in, more[:])
		n = int(more[0])<<8 | int(more[1])
	}
	b := make([]byte, 4+n)
	if _, err := io.ReadFull(in, b); err != nil {
		return "", "", err
	}
	for i := range n {
		b[4+i] ^= b[i%4]
	}
	return map[byte]string{0x81: "TEXT", 0x82: "BINARY"}[head[0]], strings.TrimSuffix(string(b[4:]), "\n"), nil
}

// requestOf is the request of a recorded head.
func requestOf(t *testing.T, head string) (Request, http.Header) {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
	if err != nil {
		t.Fatal(err)
	}
	return Request{r.Header.Get("Label"), r.Header.Get("Name"), r.Header.Get("Uuid")}, r.Header
}

// What we send is what Kairos' client sent, byte for byte, when its TPM says
// the same; and we read what its server answered.
func TestRecordedAttestations(t *testing.T) {
	keys, n := 0, 0
	for _, r := range recordings(t, "kairos-tpm-attestation.txt") {
		if len(r.client) != 2 || len(r.server) < 1 || strings.Contains(r.client[1], `"quote":"AAAAA`) {
			continue
		}
		n++
		chip := chipOf(t, r)
		want, _ := requestOf(t, r.request)
		server, got := replay(t, r)
		c := Client{Server: server, TPM: chip, Live: strings.Contains(r.client[0], "defer_pcr_enrollment")}
		p, err := c.Ask(t.Context(), want)
		sent := <-got
		if diff := cmp.Diff(r.client, sent.client); diff != "" || !slices.Equal(sent.opcode, r.opcode) {
			t.Errorf("connection %d: frames (-theirs +ours):\n%s", r.number, diff)
		}
		if diff := cmp.Diff(names(t, r.request), names(t, sent.request)); diff != "" {
			t.Errorf("connection %d: head (-theirs +ours):\n%s", r.number, diff)
		}
		keys += checkAnswer(t, r, chip, p, err)
	}
	if n < 10 || keys < 3 {
		t.Errorf("%d recordings with %d passphrases, want more", n, keys)
	}
}

// checkAnswer compares what came out with what the recorded server said.
func checkAnswer(t *testing.T, r recording, chip *replayed, p secret.Bytes, err error) (keys int) {
	t.Helper()
	var theirs struct {
		Challenge  credential `json:"challenge"`
		Passphrase []byte     `json:"passphrase"`
		Error      string     `json:"error"`
	}
	for _, frame := range r.server {
		if err := json.Unmarshal([]byte(frame), &theirs); err != nil {
			t.Fatal(err)
		}
	}
	switch {
	case diffOf(theirs.Challenge, chip.asked) != "":
		t.Errorf("connection %d: the TPM was asked otherwise: %s", r.number, diffOf(theirs.Challenge, chip.asked))
	case len(theirs.Passphrase) > 0 && (err != nil || !bytes.Equal(p.Reveal(), theirs.Passphrase)):
		t.Errorf("connection %d: Ask = %q, %v, want %q", r.number, p.Reveal(), err, theirs.Passphrase)
	case theirs.Error != "" && (codes.Of(err) != CodeRefused || !strings.Contains(err.Error(), theirs.Error[:min(60, len(theirs.Error))])):
		t.Errorf("connection %d: Ask = %v, want code %s and %q", r.number, err, CodeRefused, theirs.Error)
	case len(r.server) == 1 && codes.Of(err) != CodeWaiting:
		t.Errorf("connection %d: Ask = %v, want code %s", r.number, err, CodeWaiting)
	}
	if len(theirs.Passphrase) > 0 {
		return 1
	}
	return 0
}

func diffOf(a, b credential) string { return cmp.Diff(a, b) }

func chipOf(t *testing.T, r recording) *replayed {
	t.Helper()
	var h hello
	var p proof
	if err := json.Unmarshal([]byte(r.client[0]), &h); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(r.client[1]), &p); err != nil {
		t.Fatal(err)
	}
	chip := &replayed{spki: h.EK, ak: tpm.AttestationKey{Public: h.AK.Public, CreateData: h.AK.CreateData, CreateAttestation: h.AK.CreateAttestation, CreateSignature: h.AK.CreateSignature}, opened: p.Secret}
	chip.quote = kms.Quote{Attest: p.Quote.Quote.Quote, Signature: p.Quote.Quote.Signature}
	for _, i := range []int{0, 7, 11} {
		chip.quote.PCRs = append(chip.quote.PCRs, kms.PCR{Index: i, Value: [32]byte(p.Quote.PCRs[[]string{0: "0", 7: "7", 11: "11"}[i]])})
	}
	return chip
}

// names are the headers of a request that say something, with their values.
func names(t *testing.T, head string) map[string][]string {
	t.Helper()
	_, h := requestOf(t, head)
	delete(h, "User-Agent")
	h.Set("Sec-Websocket-Key", "random")
	return h
}
