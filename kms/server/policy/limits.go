package policy

import (
	"fmt"

	"latchkey/kms"
)

func perBootRule(f Facts) (kms.Status, string) {
	n := 0
	if f.Clock == f.Seen {
		n = f.InBoot
	}
	return limitRule(f, f.Settings.PerBoot, n, "in this boot")
}

func perHourRule(f Facts) (kms.Status, string) {
	return limitRule(f, f.Settings.PerHour, f.InHour, "within the hour")
}

// storesRule bounds how often a machine writes into the database.
func storesRule(f Facts) (kms.Status, string) {
	most := f.Settings.Stores()
	switch {
	case f.Operation != kms.Put && f.Operation != kms.Enroll && f.Operation != kms.Recovery:
		return 0, fmt.Sprintf("%s is none of put, enroll and recovery", f.Operation)
	case most == 0:
		return 0, "any number of puts and enrolls within the hour"
	case f.Stores >= most:
		return kms.TooOften, fmt.Sprintf("%d puts and enrolls within the hour, the limit is %d", f.Stores, most)
	}
	return 0, fmt.Sprintf("%d of %d puts and enrolls within the hour", f.Stores, most)
}

func limitRule(f Facts, limit *int, n int, when string) (kms.Status, string) {
	switch {
	case !f.releases():
		return 0, fmt.Sprintf("%s gives no secret out", f.Operation)
	case limit == nil || *limit == 0:
		return 0, fmt.Sprintf("any number of releases %s", when)
	case n >= *limit:
		return kms.Refused, fmt.Sprintf("%d releases %s, the limit is %d", n, when, *limit)
	}
	return 0, fmt.Sprintf("%d of %d releases %s", n, *limit, when)
}
