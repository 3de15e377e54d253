package kairostest

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"latchkey/kms/server/kairos"
)

// A Node asks as a machine of Kairos does.
type Node struct {
	URL  string
	TPM  TPM
	Want kairos.Request
	Live bool
	// Dialer connects; nil is gorilla's own.
	Dialer *websocket.Dialer
	// Hello and Proof bend the messages before they are sent.
	Hello, Proof func(map[string]any)
}

// A Reply is how a server answered. All empty: it closed the connection.
type Reply struct {
	Passphrase  string `json:"passphrase"`
	Error       string `json:"error"`
	GeneratedBy string `json:"generated_by"`
	Kind        int    `json:"-"` // of the frame
	Raw         string `json:"-"`
}

func (n *Node) dial(path string, header http.Header) (*websocket.Conn, error) {
	for name, value := range map[string]string{"Label": n.Want.Label, "Name": n.Want.Name, "Uuid": n.Want.UUID} {
		header[name] = []string{value}
	}
	dialer := n.Dialer
	if dialer == nil {
		dialer = websocket.DefaultDialer
	}

	conn, reply, err := dialer.Dial(strings.Replace(n.URL, "http", "ws", 1)+path, header)
	if err != nil {
		if reply != nil {
			err = fmt.Errorf("status %d: %w", reply.StatusCode, err)
		}
		return nil, err
	}

	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	return conn, nil
}

func ak(public []byte) map[string]any {
	return map[string]any{"Public": public, "UseTCSDActivationFormat": false, "CreateData": []byte{1}, "CreateAttestation": []byte{1}, "CreateSignature": []byte{1}}
}

// Attest is the new exchange.
func (n *Node) Attest() (Reply, error) {
	conn, err := n.dial(kairos.AttestationPath, http.Header{})
	if err != nil {
		return Reply{}, err
	}
	defer conn.Close()
	key, err := n.TPM.NewAK()
	if err != nil {
		return Reply{}, err
	}

	hello := map[string]any{"ek_public": n.TPM.SPKI(), "ak_params": ak(key.Public())}
	if n.Live {
		hello["defer_pcr_enrollment"] = true
	}
	if n.Hello != nil {
		n.Hello(hello)
	}

	if err := send(conn, websocket.TextMessage, hello); err != nil {
		return Reply{}, err
	}
	var c struct {
		Challenge struct{ Credential, Secret []byte } `json:"challenge"`
	}

	if kind, raw, err := conn.ReadMessage(); err != nil {
		return Reply{}, nil // it was refused
	} else if err := json.Unmarshal(raw, &c); err != nil || kind != websocket.TextMessage || len(raw) != 484 {
		return Reply{}, fmt.Errorf("reading the challenge: frame of kind %d and %d bytes, not text of 484: %v", kind, len(raw), err)
	}

	proof, err := prove(key, c.Challenge.Credential, c.Challenge.Secret)
	if err != nil {
		return Reply{}, err
	}

	if n.Proof != nil {
		n.Proof(proof)
	}
	if err := send(conn, websocket.TextMessage, proof); err != nil {
		return Reply{}, err
	}

	r, err := readReply(conn)
	if text, bad := base64.StdEncoding.DecodeString(r.Passphrase); bad == nil {
		r.Passphrase = string(text)
	}
	return r, err
}

func prove(key AK, credential, seed []byte) (map[string]any, error) {
	opened, err := key.Activate(credential, seed)
	if err != nil {
		return nil, err
	}
	attest, signature, pcrs, err := key.Quote()
	quote := map[string]any{"version": "2", "quote": attest, "signature": signature}
	return map[string]any{"secret": opened, "pcr_quote": map[string]any{"quote": quote, "pcrs": pcrs}}, err
}

// GetPass is the legacy exchange.
func (n *Node) GetPass() (Reply, error) {
	conn, err := n.activate(kairos.GetPath)
	if err != nil || conn == nil {
		return Reply{}, err
	}
	defer conn.Close()
	return readReply(conn)
}

// PostPass gives the server what the node's TPM encrypted.
func (n *Node) PostPass(sealed []byte) error {
	conn, err := n.activate(kairos.PostPath)
	if err != nil || conn == nil {
		return err
	}
	defer conn.Close()
	message := map[string]any{"passphrase": base64.RawURLEncoding.EncodeToString(sealed), "error": "", "generated_by": "tpm"}
	if n.Proof != nil {
		n.Proof(message)
	}

	if err := send(conn, websocket.TextMessage, message); err != nil {
		return err
	}
	r, err := readReply(conn) // nothing comes back: this waits until it is kept
	if err == nil && r != (Reply{}) {
		err = fmt.Errorf("the server answered %+v", r)
	}

	return err
}

// activate opens a legacy connection and the challenge on it; nil without
// an error if the server closed it.
func (n *Node) activate(path string) (*websocket.Conn, error) {
	key, err := n.TPM.NewAK()
	if err != nil {
		return nil, err
	}

	ek := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: n.TPM.SPKI()})
	keys := map[string]any{"EK": ek, "AK": ak(key.Public())}
	if n.Hello != nil {
		n.Hello(keys)
	}
	token, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}

	conn, err := n.dial(path, http.Header{"Authorization": {"Bearer TPM" + base64.StdEncoding.EncodeToString(token)}})
	if err != nil {
		return nil, err
	}

	var c struct {
		EC struct{ Credential, Secret []byte }
	}
	if kind, raw, err := conn.ReadMessage(); err != nil {
		return nil, conn.Close()
	} else if err := json.Unmarshal(raw, &c); err != nil || kind != websocket.BinaryMessage || len(raw) != 476 {
		return nil, fmt.Errorf("reading the challenge: frame of kind %d and %d bytes, not binary of 476: %v", kind, len(raw), err)
	}

	opened, err := key.Activate(c.EC.Credential, c.EC.Secret)
	if err != nil {
		return nil, err
	}
	return conn, send(conn, websocket.BinaryMessage, map[string]any{"Secret": opened})
}

func send(conn *websocket.Conn, kind int, message any) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return conn.WriteMessage(kind, text)
}

// readReply reads the answer and the end after it, which comes without a
// CLOSE frame.
func readReply(conn *websocket.Conn) (r Reply, err error) {
	kind, raw, err := conn.ReadMessage()
	if err != nil {
		return Reply{}, ended(err)
	}
	r.Kind, r.Raw = kind, string(raw)
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("reading the answer %q: %w", raw, err)
	}
	_, _, err = conn.ReadMessage()
	return r, ended(err)
}

// ended takes gorilla's word for an end without CLOSE frame.
func ended(err error) error {
	if err == io.EOF || websocket.IsCloseError(err, websocket.CloseAbnormalClosure) {
		return nil
	}
	return fmt.Errorf("the connection ended otherwise: %w", err)
}
