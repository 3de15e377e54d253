package eventlog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Change is one difference between two boots, in words.
type Change struct {
	PCR  int
	Rule string // of the shipped rules: the one that lets it pass; empty: none does
	Text string
}

func (c Change) String() string { return fmt.Sprintf("PCR %d: %s", c.PCR, c.Text) }

// Rules that ship: changes that updates of the common kind make.
const (
	// RuleMicrosoft2023: Microsoft's certificates of 2023 came to PK, KEK or
	// db, or vouch for what was started.
	RuleMicrosoft2023 = "microsoft-2023"
	// RuleRevocations: dbx only grew, shim's SBAT level only rose.
	RuleRevocations = "revocations"
)

// ShippedRules are all.
var ShippedRules = []string{RuleMicrosoft2023, RuleRevocations}

// Changes says what became of a boot: old and new are not nil. Names are
// those of programs that somebody knows.
func Changes(old, new *Summary, names map[Digest]string) []Change {
	var c changes
	c.secureBoot(old, new)
	c.started(old, new, names)
	c.booted(old, new)
	for _, pcr := range Selection {
		if old.Rest[pcr] != new.Rest[pcr] {
			c.add(pcr, "", "%s changed", covers[pcr])
		}
	}
	slices.SortStableFunc(c, func(a, b Change) int { return a.PCR - b.PCR })
	return c
}

// covers says in words what a PCR is for: profile 1.06, section 3.3.4.
var covers = map[int]string{
	0: "the firmware's code", 1: "the firmware's settings", 2: "option ROMs", 3: "settings of option ROMs", 4: "what the firmware started",
	5: "the partition table", 7: "something else of Secure Boot", 8: "GRUB's commands", 9: "files that GRUB read", 11: "something else of the UKI",
	12: "what was given to the boot stub", 13: "system extensions", 14: "shim's lists",
}

// Covers says in words what a PCR is for.
func Covers(pcr int) string { return covers[pcr] }

type changes []Change

func (c *changes) add(pcr int, rule, format string, args ...any) {
	*c = append(*c, Change{pcr, rule, fmt.Sprintf(format, args...)})
}

func (c *changes) secureBoot(old, new *Summary) {
	if old.SecureBoot != new.SecureBoot {
		c.add(7, "", "Secure Boot is %s, was %s", orUnknown(new.SecureBoot), orUnknown(old.SecureBoot))
	}
	c.keys("PK", old.PK, new.PK)
	c.keys("KEK", old.KEK, new.KEK)
	c.keys("db", old.DB, new.DB)
	c.keys("dbx", old.DBX, new.DBX)
	c.signers(old, new)
	c.sbat(old, new)
}

func orUnknown(s string) string {
	if s == "" {
		return "not known"
	}
	return s
}

// keys compares one variable, entry by entry.
func (c *changes) keys(name string, old, new *Keys) {
	if old == nil || new == nil {
		if old != new {
			c.add(7, "", "what %s held is not known", name)
		}
		return
	}

	before, grows := len(*c), "" // the rule under which this variable may gain anything
	if name == "dbx" {
		grows = RuleRevocations
	}
	for _, cert := range new.Certificates {
		if !old.Has(cert.SHA256) {
			c.add(7, gained(cert, grows), "%s gained '%s'", name, cert.Name)
		}
	}
	for _, cert := range old.Certificates {
		if !new.Has(cert.SHA256) {
			c.add(7, "", "%s lost '%s'", name, cert.Name)
		}
	}
	if n := new.Hashes.Without(old.Hashes); n > 0 {
		c.add(7, grows, "%s gained %s", name, count(n))
	}
	if n := old.Hashes.Without(new.Hashes); n > 0 {
		c.add(7, "", "%s lost %s", name, count(n))
	}
	if old.SHA256 != new.SHA256 && (len(*c) == before || old.Others+new.Others > 0) {
		c.add(7, "", "%s has other entries, or the same in another order", name)
	}
}

// gained is the rule under which a certificate may have come.
func gained(cert Certificate, grows string) string {
	if w, ok := wellKnown[cert.SHA256]; ok && w.Year == 2023 && grows == "" {
		return RuleMicrosoft2023
	}
	return grows
}

// Has tells whether a certificate is among the keys.
func (k *Keys) Has(d Digest) bool {
	return slices.ContainsFunc(k.Certificates, func(c Certificate) bool { return c.SHA256 == d })
}

func count(n int) string {
	if n == 1 {
		return "1 digest"
	}
	return fmt.Sprintf("%d digests", n)
}

// signers compares who vouched for what was started. A program that is
// signed anew has another signer in the old one's place.
func (c *changes) signers(old, new *Summary) {
	if slices.Equal(old.Signers, new.Signers) {
		return
	}
	has := func(list []Signer, s Signer) bool { return slices.Contains(list, s) }
	rule := RuleMicrosoft2023
	var texts []string
	for _, s := range new.Signers {
		if !has(old.Signers, s) {
			texts = append(texts, fmt.Sprintf("'%s' of %s vouched for what was started", s.Certificate.Name, s.List))
			if w, ok := wellKnown[s.Certificate.SHA256]; !ok || w.Year != 2023 || s.List != "db" {
				rule = ""
			}
		}
	}
	for _, s := range old.Signers {
		if !has(new.Signers, s) {
			texts = append(texts, fmt.Sprintf("nothing by '%s' of %s was started", s.Certificate.Name, s.List))
		}
	}
	if len(texts) == 0 {
		texts = []string{"what was started came in another order"}
	}
	for _, t := range texts {
		c.add(7, rule, "%s", t)
	}
}

func (c *changes) sbat(old, new *Summary) {
	for _, name := range slices.Sorted(maps.Keys(merged(old.SBAT, new.SBAT))) {
		was, is := old.SBAT[name], new.SBAT[name]
		switch {
		case is > was:
			c.add(7, RuleRevocations, "SBAT level of %s is %d, was %d", name, is, was)
		case is < was:
			c.add(7, "", "SBAT level of %s is %d, was %d", name, is, was)
		}
	}
}

func merged[V any](a, b map[string]V) map[string]V {
	m := maps.Clone(a)
	if m == nil {
		m = map[string]V{}
	}
	maps.Copy(m, b)
	return m
}

// Sentence puts changes into one line, so long at most.
func Sentence(all []Change, most int) string {
	var parts []string
	last := -1
	for _, c := range all {
		if c.PCR == last {
			parts[len(parts)-1] += ", " + c.Text
			continue
		}
		parts, last = append(parts, c.String()), c.PCR
	}
	return clean(strings.Join(parts, "; "), most)
}
