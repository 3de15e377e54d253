package boot

import (
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
)

// A latch that finds no TPM ends with PID 1's orders unread. The reason that
// it gave must arrive all the same.
func TestTheLastWordOfAChildThatReadNothing(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()

	if err := wire.NewConn(ours).Send(phase("enter-initrd")); err != nil {
		t.Fatal(err)
	}
	if err := wire.NewConn(theirs).Fail(codes.Fail(codes.TPMMissing, "no TPM")); err != nil {
		t.Fatal(err)
	}
	theirs.Close()

	records := make(chan wire.Record, 2)
	receive(ours, records)
	close(records)
	var got []string
	for r := range records {
		got = append(got, r.Code)
	}
	if !slices.Equal(got, []string{codes.TPMMissing}) {
		t.Errorf("heard %q", got)
	}
}
