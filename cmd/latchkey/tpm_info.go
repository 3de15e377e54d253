package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/unlock/tpm"
)

// infoPCRs are those that latchkey looks at: Secure Boot, the image, the
// command line, the latch; and 0, which every firmware fills.
var infoPCRs = []int{0, 7, 11, 12, 15}

// tpmInfo is what "tpm info" shows.
type tpmInfo struct {
	NodeID  string            `json:"node_id"`
	Words   string            `json:"words"`
	EK      string            `json:"ek"`
	AK      string            `json:"ak"`
	AKName  string            `json:"ak_name"`
	EKCert  bool              `json:"ek_certificate"`
	Banks   []string          `json:"banks"`
	PCRs    map[string]string `json:"pcrs"` // of the SHA-256 bank
	Lockout struct {
		Locked   bool `json:"locked"`
		Failures int  `json:"failures"`
		Max      int  `json:"max"`
		Forget   int  `json:"forget_s"`
	} `json:"lockout"`
}

func tpmInfoCommand() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "info",
		Short: "Show this machine's keys, fingerprint and boot state",
		Long: `Info prints the node id, which is the hash of the endorsement key (EK), the
six words that stand for it on the console and in "latchkey-kms node list",
the attestation key (AK), and the PCRs that a KMS judges (SHA-256 bank).

PCR 15 is zero until the init has opened the volumes; while it is not, a KMS
gives no keys to this machine (pcr15-used).`,
		Example: "  latchkey tpm info\n  latchkey tpm info --tpm /run/swtpm.sock --json",
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			t, err := tpm.Open(path)
			if err != nil {
				return advise(err)
			}
			defer t.Close()
			info, err := readInfo(c.Context(), t)
			if err != nil {
				return advise(err)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), info)
			}
			return info.print(c.OutOrStdout())
		},
	}

	c.Flags().StringVar(&path, "tpm", tpm.DefaultPath, tpmUsage)
	c.Flags().BoolVar(&asJSON, "json", false, "print all as JSON")
	return c
}

func readInfo(ctx context.Context, t *tpm.TPM) (info tpmInfo, err error) {
	id, err := t.Identify(ctx, tpm.Options{Certificate: true})
	if err != nil {
		return info, err
	}
	defer id.Close()
	name := sha256.Sum256(id.AKPublic())
	info.NodeID, info.Words = id.NodeID().String(), id.NodeID().Words()
	info.EK, info.AK = keyType(id.EKPublic()), keyType(id.AKPublic())
	info.AKName = "000b" + hex.EncodeToString(name[:]) // TPM_ALG_SHA256 and the hash: Part 1, section 16
	info.EKCert = len(id.EKCert()) > 0
	if info.Banks, err = t.Banks(ctx); err != nil {
		return info, err
	}

	info.PCRs = map[string]string{}
	for _, pcr := range infoPCRs {
		value, err := t.ReadPCR(ctx, pcr)
		if err != nil {
			return info, err
		}
		info.PCRs[strconv.Itoa(pcr)] = hex.EncodeToString(value[:])
	}

	l, err := t.Lockout(ctx)
	info.Lockout.Locked, info.Lockout.Failures, info.Lockout.Max, info.Lockout.Forget = l.Locked, l.Failures, l.Max, int(l.Forget.Seconds())
	return info, err
}

// keyType reads TPMT_PUBLIC's first field: TPM_ALG_ID, Part 2, section 6.3.
// Of each type there is one template.
func keyType(public []byte) string {
	if len(public) < 2 {
		return "none"
	}
	switch alg := binary.BigEndian.Uint16(public); alg {
	case 0x0001:
		return "RSA-2048"
	case 0x0023:
		return "P-256"
	default:
		return fmt.Sprintf("0x%04x", alg)
	}
}

func (i tpmInfo) print(w io.Writer) error {
	certificate := "no certificate"
	if i.EKCert {
		certificate = "with certificate"
	}
	lockout := fmt.Sprintf("no, %d of %d wrong passwords", i.Lockout.Failures, i.Lockout.Max)
	if i.Lockout.Locked {
		lockout = fmt.Sprintf("YES, one wrong password is forgotten every %d s", i.Lockout.Forget)
	}

	pairs := [][2]string{
		{"node", i.NodeID},
		{"words", i.Words},
		{"EK", i.EK + ", " + certificate},
		{"AK", i.AK + ", name " + i.AKName},
		{"banks", strings.Join(i.Banks, " ")},
		{"lockout", lockout},
	}
	for _, pcr := range infoPCRs {
		pairs = append(pairs, [2]string{fmt.Sprintf("PCR %d", pcr), i.PCRs[strconv.Itoa(pcr)]})
	}

	return printPairs(w, pairs...)
}
