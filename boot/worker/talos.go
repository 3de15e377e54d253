package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"latchkey/internal/plan"
	"latchkey/internal/unary"
	"latchkey/unlock"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/source/keyfile"
	"latchkey/unlock/source/talos"
)

// talosKMS is the source of what a KMS of Talos sealed.
func (w *worker) talosKMS(n *network) *talos.KMS {
	p := w.plan.Talos
	return &talos.KMS{URLs: p.KMS, Allowed: p.Sealed, UUID: w.nodeUUID, Wait: w.plan.TalosTime(), Asker: w.talosServers(n)}
}

// talosTPM is the source of what Talos sealed to the TPM.
func (w *worker) talosTPM() *talos.TPM2 {
	return &talos.TPM2{
		Allowed: w.plan.Talos.Sealed, Signer: w.talosSigner,
		TPM: func(ctx context.Context) (talos.Unsealer, error) {
			if err := w.mayUseTPM(ctx); err != nil {
				return nil, err
			}
			return w.tpm()
		},
	}
}

// talosNode is the source of the keys that Talos made of the machine's UUID.
func (w *worker) talosNode() *talos.NodeID {
	return &talos.NodeID{UUID: w.nodeUUID, Label: func(v *unlock.Volume) string {
		for _, p := range w.plan.Volumes {
			if p.Name == v.Name {
				return p.Talos
			}
		}
		return ""
	}}
}

// nodeUUID is who this machine is for Talos.
func (w *worker) nodeUUID() (string, error) {
	if w.plan.Talos.Node != "" {
		return w.plan.Talos.Node, nil
	}
	text, err := w.sys.ProductUUID()
	if err != nil {
		return "", fmt.Errorf("reading the machine's UUID (SMBIOS; node: UUID in latchkey.yaml does without): %w", err)
	}
	return strings.ToLower(strings.TrimSpace(text)), nil
}

// stubKey is what systemd-stub takes out of a unified kernel image that names
// the key of its signatures (systemd-stub(7)).
const stubKey = "/.extra/tpm2-pcr-public-key.pem"

// talosSigner is the key that signs this image's PCRs, with its signatures.
func (w *worker) talosSigner() (s talos.Signer, err error) {
	read := func(path string) []byte {
		file, readErr := w.sys.ReadKey(keyfile.Device{}, keyfile.File{Path: path})
		err = errors.Join(err, readErr)
		return file.Reveal()
	}
	pem, signatures := read(stubKey), read(stubSignatures)
	if err != nil {
		return s, err
	}
	key, err := cryptenroll.ParseKey(pem)
	if err != nil {
		return s, fmt.Errorf("%s: %w", stubKey, err)
	}
	return talos.Signer{Modulus: key.Modulus, Exponent: key.Exponent, Find: func(pcrs []int, policy [32]byte) ([]byte, error) {
		return key.Find(signatures, "sha256", pcrs, policy)
	}}, nil
}

// talosServers are KMS of Talos. One that refuses is asked as seldom as Talos
// does: each time stands in its audit log.
func (w *worker) talosServers(n *network) *servers {
	s := &servers{worker: w, network: n, what: "Talos KMS", code: talos.Code}
	s.again = func(err error) time.Duration {
		if talos.Code(err) == talos.CodeRefused {
			return 30 * time.Second
		}
		return time.Second
	}
	s.post = func(ctx context.Context, at serverAt, method string, request []byte) ([]byte, error) {
		to, err := at.endpoint()
		if err != nil {
			return nil, err
		}
		conn, err := n.dial(ctx, at, plan.TLSServer{Host: to.Host, Protocol: "h2", Trust: w.plan.Talos.TLS})
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		scheme := "http"
		if at.secure {
			scheme = "https"
		}
		return unary.Do(ctx, conn, unary.Call{Scheme: scheme, Authority: to.Address(), Method: method, Request: request, Reply: talos.MaxReply})
	}
	return s
}
