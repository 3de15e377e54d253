package operator

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"latchkey/kms/ledger"
)

// Who names a user of this host for the audit log: the number that the
// kernel knows, and the name that goes with it now.
func Who(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return fmt.Sprintf("operator uid %d", uid)
	}
	return fmt.Sprintf("operator uid %d (%.64s)", uid, u.Username)
}

// Here is a context in which the user of this process administers.
func Here(ctx context.Context) context.Context { return ledger.As(ctx, Who(os.Getuid())) }
