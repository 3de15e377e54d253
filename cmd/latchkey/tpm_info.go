package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
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

// tpmInfo is what "tpm info" shows. What could not be read is left out, and
// a problem says why.
type tpmInfo struct {
	NodeID        string            `json:"node_id,omitempty"`
	Words         string            `json:"words,omitempty"`
	EK            string            `json:"ek,omitempty"`
	AK            string            `json:"ak,omitempty"`
	AKName        string            `json:"ak_name,omitempty"`
	EKCert        bool              `json:"ek_certificate"`
	PersistentSRK bool              `json:"persistent_srk"`
	Passwords     []string          `json:"passwords,omitempty"` // hierarchies that have one
	Banks         []string          `json:"banks,omitempty"`
	PCRs          map[string]string `json:"pcrs,omitempty"` // of the SHA-256 bank
	Lockout       tpmLockout        `json:"lockout"`
	Problems      []string          `json:"problems,omitempty"`
	Notes         []string          `json:"notes,omitempty"`
	FailureMode   bool              `json:"failure_mode,omitempty"` // then the rest says nothing
}

type tpmLockout struct {
	Locked   bool `json:"locked"`
	Failures int  `json:"failures"`
	Max      int  `json:"max"`
	Forget   int  `json:"forget_s"`
}

func tpmInfoCommand() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "info",
		Short: "Show this machine's keys, fingerprint and boot state, and what is wrong",
		Long: `Info prints the node id, which is the hash of the endorsement key (EK), the
six words that stand for it on the console and in "latchkey-kms node list",
the attestation key (AK), and the PCRs that a KMS judges (SHA-256 bank).

Whatever keeps latchkey from using this TPM is listed as a problem, with what
to do: a bank that is off, a password of the owner or of the endorsement
hierarchy, a lockout, firmware that measures nothing. It exits with 1 when a
key or a PCR cannot be read.

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
			info, failed := readInfo(c.Context(), t)
			if asJSON {
				err = printJSON(c.OutOrStdout(), info)
			} else {
				err = info.print(c.OutOrStdout())
			}
			return errors.Join(err, advise(failed))
		},
	}

	c.Flags().StringVar(&path, "tpm", tpm.DefaultPath, tpmUsage)
	c.Flags().BoolVar(&asJSON, "json", false, "print all as JSON")
	return c
}

// readInfo reads all that can be read. The error is why this TPM cannot be
// used; what is known of it then is in info all the same.
func readInfo(ctx context.Context, t *tpm.TPM) (info tpmInfo, failed error) {
	setup, err := t.Setup(ctx)
	all := []error{err}
	info.Banks, err = t.Banks(ctx)
	all = append(all, err)
	l, err := t.Lockout(ctx)
	info.Lockout = tpmLockout{l.Locked, l.Failures, l.Max, int(l.Forget.Seconds())}
	all = append(all, err, info.readKeys(ctx, t), info.readPCRs(ctx, t))
	if errors.Is(errors.Join(all...), tpm.ErrFailureMode) { // what it has answered is made up
		return tpmInfo{FailureMode: true, Problems: []string{tpm.ErrFailureMode.Error()}}, failedBy(all)
	}

	info.PersistentSRK = setup.PersistentSRK
	info.Passwords = passwords(setup)
	info.Problems, info.Notes = info.problems(setup), info.notes(setup)
	return info, failedBy(all)
}

// failedBy is the error that says most: that of failure mode, else the first.
func failedBy(all []error) (failed error) {
	for _, err := range all {
		if failed == nil || errors.Is(err, tpm.ErrFailureMode) && !errors.Is(failed, tpm.ErrFailureMode) {
			failed = err
		}
	}
	return failed
}

func (i *tpmInfo) readKeys(ctx context.Context, t *tpm.TPM) error {
	id, err := t.Identify(ctx, tpm.Options{Certificate: true})
	if err != nil {
		return err
	}
	defer id.Close()
	name := sha256.Sum256(id.AKPublic())
	i.NodeID, i.Words = id.NodeID().String(), id.NodeID().Words()
	i.EK, i.AK = keyType(id.EKPublic()), keyType(id.AKPublic())
	i.AKName = "000b" + hex.EncodeToString(name[:]) // TPM_ALG_SHA256 and the hash: Part 1, section 16
	i.EKCert = len(id.EKCert()) > 0
	return nil
}

func (i *tpmInfo) readPCRs(ctx context.Context, t *tpm.TPM) error {
	values := map[string]string{}
	for _, pcr := range infoPCRs {
		value, err := t.ReadPCR(ctx, pcr)
		if err != nil {
			return err
		}
		values[strconv.Itoa(pcr)] = hex.EncodeToString(value[:])
	}
	i.PCRs = values
	return nil
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
	if i.FailureMode {
		return printPairs(w, [2]string{"problem", i.Problems[0]})
	}
	lockout := fmt.Sprintf("no, %d of %d wrong passwords", i.Lockout.Failures, i.Lockout.Max)
	if i.Lockout.Locked {
		lockout = fmt.Sprintf("YES, one wrong password is forgotten every %d s", i.Lockout.Forget)
	}
	set := "none"
	if len(i.Passwords) > 0 {
		set = strings.Join(i.Passwords, ", ")
	}

	var pairs [][2]string
	if i.NodeID != "" {
		pairs = append(pairs, [2]string{"node", i.NodeID}, [2]string{"words", i.Words},
			[2]string{"EK", i.EK + ", " + i.certificate()}, [2]string{"AK", i.AK + ", name " + i.AKName})
	}
	pairs = append(pairs, [2]string{"banks", strings.Join(i.Banks, " ")}, [2]string{"passwords", set},
		[2]string{"SRK", i.storageKey()}, [2]string{"lockout", lockout})
	for _, pcr := range infoPCRs {
		if value := i.PCRs[strconv.Itoa(pcr)]; value != "" {
			pairs = append(pairs, [2]string{fmt.Sprintf("PCR %d", pcr), value})
		}
	}

	for _, p := range i.Problems {
		pairs = append(pairs, [2]string{"problem", p})
	}
	for _, n := range i.Notes {
		pairs = append(pairs, [2]string{"note", n})
	}
	return printPairs(w, pairs...)
}

func (i tpmInfo) certificate() string {
	if i.EKCert {
		return "with certificate"
	}
	return "no certificate"
}

func (i tpmInfo) storageKey() string {
	if i.PersistentSRK {
		return "persistent at 0x81000001"
	}
	return "not persistent: made when it is needed"
}
