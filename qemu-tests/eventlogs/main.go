// Eventlogs is the init of a machine that shows what its firmware measured:
// "run" boots it and keeps the logs as test data of kms/server/eventlog.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// logFile is where the kernel shows the log (security/… of securityfs,
// drivers/char/tpm/eventlog/common.c).
const logFile = "/sys/kernel/security/tpm0/binary_bios_measurements"

func main() {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"securityfs", "/sys/kernel/security"}, {"devtmpfs", "/dev"}} {
		_ = os.Mkdir(m[1], 0o755)
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			fmt.Println("mounting", m[1], err)
		}
	}
	if err := show(); err != nil {
		fmt.Println("eventlogs:", err)
	}
	fmt.Println("eventlogs: end")
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// show prints the log as gzip in base64, the PCRs, and the command line.
func show() error {
	raw, err := os.ReadFile(logFile)
	if err != nil {
		return err
	}

	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(raw); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}

	text := base64.StdEncoding.EncodeToString(packed.Bytes())
	for len(text) > 0 {
		n := min(len(text), 100)
		fmt.Println("log:", text[:n])
		text = text[n:]
	}

	for pcr := range 16 {
		value, err := os.ReadFile(fmt.Sprintf("/sys/class/tpm/tpm0/pcr-sha256/%d", pcr))
		if err != nil {
			return err
		}
		fmt.Println("pcr:", pcr, strings.ToLower(strings.TrimSpace(string(value))))
	}

	cmdline, err := os.ReadFile("/proc/cmdline")
	fmt.Print("cmdline: ", string(cmdline))
	return err
}
