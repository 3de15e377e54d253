package server_test

import (
	"strings"
	"testing"

	"latchkey/kms"
	"latchkey/kms/server/kairos"
)

func TestKairosEnrollment(t *testing.T) {
	t.Run("approve", func(t *testing.T) {
		f, tpm := newKMS(t, speaksKairos), newSoft(t)
		tpm.PCRs[7] = [32]byte{7}
		n := f.kairosNode(tpm)
		refused(t, n, "")
		f.kairos("approve", tpm)
		must(t, n)
		tpm.PCRs[7] = [32]byte{8} // the shown state was approved
		refused(t, n, "PCR7 changed")
	})
	t.Run("closed", func(t *testing.T) {
		f, tpm := newKMS(t, speaksKairos, closed), newSoft(t)
		refused(t, f.kairosNode(tpm), "TPM is not enrolled")
		if nodes, err := f.Kairos.Nodes(); err != nil || len(nodes) != 0 {
			t.Errorf("KairosNodes = %v, %v, want none", nodes, err)
		}
		if err := f.apply(tpm, document); err != nil {
			t.Fatal(err)
		}
		must(t, f.kairosNode(tpm))
	})
	t.Run("tofu", func(t *testing.T) {
		f := newKMS(t, speaksKairos, tofu)
		a, b := must(t, f.kairosNode(newSoft(t))), must(t, f.kairosNode(newSoft(t)))
		if a == b {
			t.Error("two TPMs got one passphrase")
		}
	})
}

// A name that a node says leads to nobody's Secret.
func TestKairosNamesOfOthers(t *testing.T) {
	f := newKMS(t, speaksKairos, tofu)
	victim, thief := newSoft(t), newSoft(t)
	err := f.apply(victim, document+"---\napiVersion: v1\nkind: Secret\nmetadata: {name: machine-a-cos-persistent}\nstringData: {passphrase: "+canary+"}\n")
	if err != nil {
		t.Fatal(err)
	}

	if got := must(t, f.kairosNode(victim)); got != canary {
		t.Errorf("the Secret's owner got %q", got)
	}
	if got := must(t, f.kairosNode(thief)); got == canary {
		t.Error("another TPM got the Secret by its label")
	}

	// Their server calls what it makes by eight digits of the hash: soon
	// found again by somebody who makes keys.
	thief = newSoft(t)
	name := "tofu-" + thief.Hash()[:8] + "-cos-persistent"
	if err := f.apply(victim, "apiVersion: v1\nkind: Secret\nmetadata: {name: "+name+"}\nstringData: {passphrase: "+canary+"}\n"); err != nil {
		t.Fatal(err)
	}

	if got := must(t, f.kairosNode(thief)); got == canary {
		t.Error("a TPM got a Secret by a part of its hash")
	}
}

// What lk1 serves is never had without a nonce, by whichever name.
func TestKairosAndLK1(t *testing.T) {
	f, _, n := setUp(t)
	uuid, err := kms.ParseUUID(persistent.UUID)
	if err != nil {
		t.Fatal(err)
	}

	byLabel := *n
	byLabel.Want = kairos.Request{Label: persistent.Label}
	must(t, n)
	must(t, &byLabel)
	f.approve(newTPM(t), uuid)
	refused(t, n, "lk1-volume")
	upper := *n
	upper.Want.UUID = strings.ToUpper("abcdef00-2222-3333-4444-555555555555")
	must(t, &upper)
	abc, err := kms.ParseUUID(strings.ToLower(upper.Want.UUID))
	if err != nil {
		t.Fatal(err)
	}

	f.approve(newTPM(t), abc)
	refused(t, &upper, "lk1-volume")
	must(t, &byLabel)

	// COS_PERSISTENT's UUID on every disk of Kairos: v5 of the label.
	all, err := kms.ParseUUID("85c39d0f-4867-5227-8334-f5eec606d9eb")
	if err != nil {
		t.Fatal(err)
	}

	f.approve(newTPM(t), all)
	refused(t, &byLabel, "lk1-volume")
}

// An edited document leads to the same passphrase, and so does one that
// came back; another TPM cannot take a document's name over.
func TestKairosEditedDocuments(t *testing.T) {
	f, tpm, n := setUp(t)
	first := must(t, n)
	for _, edited := range []string{
		document + "      uuid: " + persistent.UUID + "\n",
		strings.ReplaceAll(document, "label: COS_PERSISTENT", "label: OTHER") + "    - label: COS_PERSISTENT\n",
		strings.ReplaceAll(document, "machine-a", "renamed"),
	} {
		if err := f.apply(tpm, edited); err != nil {
			t.Fatal(err)
		}
		if must(t, n) != first {
			t.Errorf("another passphrase after applying\n%s", edited)
		}
	}

	f, tpm, n = setUp(t)
	first = must(t, n)
	if err := f.apply(tpm, strings.ReplaceAll(document, "COS_PERSISTENT", "OTHER")); err != nil {
		t.Fatal(err)
	}

	refused(t, n, "") // it is gone from the document
	if err := f.apply(tpm, document); err != nil {
		t.Fatal(err)
	}

	if must(t, n) != first {
		t.Error("another passphrase after the partition came back")
	}
	if err := f.apply(newSoft(t), document); err == nil {
		t.Error("a document's name was taken over by another TPM")
	}
}
