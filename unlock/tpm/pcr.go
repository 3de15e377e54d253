package tpm

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"latchkey/kms"
)

// ReadPCR returns one PCR of the SHA-256 bank.
func (t *TPM) ReadPCR(ctx context.Context, pcr int) ([32]byte, error) {
	c, end := t.begin(ctx)
	defer end()
	values, err := c.readPCRs([]int{pcr})
	if err != nil {
		return [32]byte{}, err
	}
	return values[0].Value, nil
}

// ReadPCRs returns PCRs of the SHA-256 bank, by one command for eight of them.
func (t *TPM) ReadPCRs(ctx context.Context, pcrs ...int) (map[int][32]byte, error) {
	c, end := t.begin(ctx)
	defer end()
	values, err := c.readPCRs(pcrs)
	if err != nil {
		return nil, err
	}
	all := map[int][32]byte{}
	for _, v := range values {
		all[v.Index] = v.Value
	}
	return all, nil
}

// Extend extends one PCR in every bank that the TPM has on: a bank left out
// could still vouch for the state before. digest is asked for the value of
// each bank; its length must be the hash's, or 0 for a bank that stays as
// it is, because the caller has no digest for it.
func (t *TPM) Extend(ctx context.Context, pcr int, digest func(crypto.Hash) []byte) error {
	c, end := t.begin(ctx)
	defer end()
	banks, err := c.activeBanks()
	if err != nil {
		return err
	}

	var values tpm2.TPMLDigestValues
	for _, bank := range banks {
		hash, err := bank.Hash()
		if err != nil {
			continue // a bank we have no hash for, such as SM3
		}
		d := digest(hash)
		if len(d) == 0 {
			continue
		}
		if len(d) != hash.Size() {
			return fmt.Errorf("extending PCR %d: digest of %d bytes for %v", pcr, len(d), hash)
		}
		values.Digests = append(values.Digests, tpm2.TPMTHA{HashAlg: bank, Digest: d})
	}

	_, err = run(c, fmt.Sprintf("extending PCR %d", pcr), tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests:   values,
	})
	return err
}

// kernelBanks are the banks that have PCRs, as the kernel found them when it
// took the TPM: it has a folder for each that it knows, and asks the TPM
// nothing for it (drivers/char/tpm/tpm-sysfs.c, from Linux 5.12). They are all
// of which latchkey has a hash.
func kernelBanks(class string) (banks []tpm2.TPMIAlgHash) {
	if class == "" {
		return nil
	}
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		name, alg, _ := bank(hash)
		if _, err := os.Stat(filepath.Join(class, "pcr-"+name)); err == nil {
			banks = append(banks, alg)
		}
	}
	return banks
}

// activeBanks lists the banks that have PCRs. The TPM is asked once, where the
// kernel does not say.
func (c call) activeBanks() ([]tpm2.TPMIAlgHash, error) {
	if c.t.banks == nil {
		c.t.banks = kernelBanks(c.t.class)
	}
	if c.t.banks != nil {
		return c.t.banks, nil
	}
	rsp, err := run(c, "listing PCR banks", tpm2.GetCapability{Capability: tpm2.TPMCapPCRs, PropertyCount: 1})
	if err != nil {
		return nil, err
	}

	assigned, err := rsp.CapabilityData.Data.AssignedPCR()
	if err != nil {
		return nil, &Error{"listing PCR banks", CodeFailed, err}
	}

	var banks []tpm2.TPMIAlgHash
	for _, bank := range assigned.PCRSelections {
		if slices.ContainsFunc(bank.PCRSelect, func(b byte) bool { return b != 0 }) {
			banks = append(banks, bank.Hash)
		}
	}

	if len(banks) == 0 {
		return nil, &Error{"listing PCR banks", CodeUnsupported, errors.New("no PCR bank is on")}
	}
	c.t.banks = banks
	return banks, nil
}

// readPCRs reads PCRs of the SHA-256 bank. A TPM answers at most eight at a
// time (Part 3, section 22.4), so it is asked for the rest again.
func (c call) readPCRs(pcrs []int) ([]kms.PCR, error) {
	const what = "reading PCRs"
	if err := checkPCRs(pcrs); err != nil {
		return nil, err
	}

	values := map[int][32]byte{}
	for left := slices.Clone(pcrs); len(left) > 0; {
		rsp, err := run(c, what, tpm2.PCRRead{PCRSelectionIn: selection(left...)})
		if err != nil {
			return nil, err
		}

		got := selected(rsp.PCRSelectionOut)
		if len(got) == 0 || len(got) != len(rsp.PCRValues.Digests) {
			return nil, &Error{what, CodeUnsupported, errors.New("the TPM has no SHA-256 bank on")}
		}

		for i, pcr := range got {
			d := rsp.PCRValues.Digests[i].Buffer
			if len(d) != 32 || !slices.Contains(left, pcr) {
				return nil, &Error{what, CodeFailed, fmt.Errorf("answer for PCR %d of %d bytes", pcr, len(d))}
			}
			values[pcr] = [32]byte(d)
		}

		left = slices.DeleteFunc(left, func(pcr int) bool { return slices.Contains(got, pcr) })
	}

	var out []kms.PCR
	for _, pcr := range slices.Sorted(maps.Keys(values)) {
		out = append(out, kms.PCR{Index: pcr, Value: values[pcr]})
	}
	return out, nil
}

// checkPCRs: 24 are what every PC has.
func checkPCRs(pcrs []int) error {
	for _, pcr := range pcrs {
		if pcr < 0 || pcr > 23 {
			return &Error{"selecting PCRs", CodeUnsupported, fmt.Errorf("there is no PCR %d", pcr)}
		}
	}
	return nil
}

// selection selects PCRs of the SHA-256 bank.
func selection(pcrs ...int) tpm2.TPMLPCRSelection {
	bits := make([]byte, 3)
	for _, pcr := range pcrs {
		bits[pcr/8%len(bits)] |= 1 << (pcr % 8)
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: bits}}}
}

// selected lists the PCRs of a selection's SHA-256 bank, ascending.
func selected(s tpm2.TPMLPCRSelection) []int {
	var pcrs []int
	for _, bank := range s.PCRSelections {
		if bank.Hash != tpm2.TPMAlgSHA256 {
			continue
		}
		for i := range 8 * len(bank.PCRSelect) {
			if bank.PCRSelect[i/8]&(1<<(i%8)) != 0 {
				pcrs = append(pcrs, i)
			}
		}
	}
	return pcrs
}
