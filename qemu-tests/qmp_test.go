package qemutests

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// qmp is a connection to QEMU's monitor.
type qmp struct {
	conn net.Conn
	in   *bufio.Scanner
}

// qmp carries out one command of QEMU's machine protocol.
func (w *world) qmp(command map[string]any) error {
	if w.machine.qmp == nil {
		conn, err := w.dialMonitor()
		if err != nil {
			return err
		}
		w.machine.qmp = &qmp{conn, bufio.NewScanner(conn)}
		if err := w.machine.qmp.do(map[string]any{"execute": "qmp_capabilities"}); err != nil {
			return err
		}
	}
	return w.machine.qmp.do(command)
}

func (q *qmp) do(command map[string]any) error {
	text, err := json.Marshal(command)
	if err != nil {
		return err
	}

	if _, err := fmt.Fprintf(q.conn, "%s\n", text); err != nil {
		return err
	}
	for q.in.Scan() {
		var answer struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}

		if err := json.Unmarshal(q.in.Bytes(), &answer); err != nil {
			return err
		}
		if answer.Error != nil {
			return errors.New("QEMU: " + answer.Error.Desc)
		}

		if answer.Return != nil {
			return nil
		}
	}

	return errors.New("QEMU closed its monitor")
}

// dialMonitor waits for a QEMU that has just been started to listen.
func (w *world) dialMonitor() (net.Conn, error) {
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("unix", filepath.Join(w.dir, "qmp.sock"))
		if err == nil || time.Since(began) > 20*time.Second {
			return conn, err
		}
	}
}

// plug [DISK | DRIVER,KEY=VALUE…]: puts a network card, a disk, or a device as
// -device of QEMU has it, into a running machine; for the first two it must
// have been started with "-qemu -device pcie-root-port,id=slot0,chassis=1".
func cmdPlug(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) > 1 || w.machine == nil {
		ts.Fatalf("usage: plug [DISK | DRIVER,KEY=VALUE…], after boot")
	}
	if len(args) == 1 && strings.Contains(args[0], ",") {
		device := map[string]any{}
		for word := range strings.SplitSeq("driver="+args[0], ",") {
			key, value, _ := strings.Cut(word, "=")
			device[key] = value
		}
		ts.Check(w.qmp(map[string]any{"execute": "device_add", "arguments": device}))
		return
	}

	if len(args) == 1 {
		ts.Check(w.qmp(map[string]any{"execute": "blockdev-add", "arguments": map[string]any{
			"driver": "raw", "node-name": "late", "file": map[string]any{"driver": "file", "filename": ts.MkAbs(args[0])},
		}}))
		ts.Check(w.qmp(map[string]any{"execute": "device_add", "arguments": map[string]any{
			"driver": "virtio-blk-pci", "drive": "late", "bus": "slot0", "serial": "late",
		}}))
		return
	}

	tap, err := w.lan.tap()
	ts.Check(err)
	ts.Check(w.qmp(map[string]any{"execute": "netdev_add", "arguments": map[string]any{
		"type": "tap", "id": "late", "ifname": tap, "script": "no", "downscript": "no",
	}}))
	ts.Check(w.qmp(map[string]any{"execute": "device_add", "arguments": map[string]any{
		"driver": "virtio-net-pci", "netdev": "late", "bus": "slot0", "mac": "52:54:00:00:00:20", "romfile": "",
	}}))
}

// unplug ID: takes a device of "-qemu -device …,id=ID" out of a running machine.
func cmdUnplug(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) != 1 || w.machine == nil {
		ts.Fatalf("usage: unplug ID, after boot")
	}
	ts.Check(w.qmp(map[string]any{"execute": "device_del", "arguments": map[string]any{"id": args[0]}}))
}
