package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"

	"latchkey/initramfs/uki"
	"latchkey/kms"
)

// A start is PCR 4 of this boot, and of one that starts another image.
type start struct{ now, next [32]byte }

// startOf replays what this boot measured into PCR 4 (TCG PC Client Platform
// Firmware Profile, section 3.3.4.5), with another unified kernel image in
// the place of the one that was started: the image, and the kernel in it,
// which systemd-stub has the firmware start.
func startOf(logFile, booted, next string) (s start, err error) {
	log, err := os.ReadFile(logFile)
	if err != nil {
		return s, fmt.Errorf("reading the event log of this boot: %w", err)
	}
	old, err := programs(booted)
	if err != nil {
		return s, err
	}
	come, err := programs(next)
	if err != nil {
		return s, err
	}
	s, found, err := replay4(log, map[[32]byte][32]byte{old[0]: come[0], old[1]: come[1]})
	if err == nil && !found[old[0]] {
		err = fmt.Errorf("%s was not started in this boot: its digest is not in the event log", booted)
	}
	return s, err
}

// programs are the digests of an image and of the kernel in it.
func programs(path string) (d [2][32]byte, err error) {
	image, err := readImage(path)
	if err != nil {
		return d, err
	}
	sections, err := uki.Read(image)
	if err != nil {
		return d, fmt.Errorf("%s: %w", path, err)
	}
	if d[0], err = uki.Authenticode(image); err != nil {
		return d, fmt.Errorf("%s: %w", path, err)
	}
	for _, s := range sections {
		if s.Name != ".linux" {
			continue
		}
		if d[1], err = uki.Authenticode(s.Data); err != nil {
			return d, fmt.Errorf("the kernel in %s: %w", path, err)
		}
	}
	return d, nil
}

// replay4 is PCR 4 as a log has it, and with other digests in place of some.
// found are those that were replaced.
func replay4(raw []byte, swap map[[32]byte][32]byte) (s start, found map[[32]byte]bool, err error) {
	if len(raw) > kms.MaxLog {
		return s, nil, fmt.Errorf("the event log has %d bytes, more than %d", len(raw), kms.MaxLog)
	}
	log, err := tcg.ParseEventLog(raw, tcg.ParseOpts{AllowPadding: true})
	if err != nil {
		return s, nil, fmt.Errorf("reading the event log of this boot: %w", err)
	}
	found = map[[32]byte]bool{}
	for _, e := range log.Events(register.HashSHA256) {
		const noAction = 3 // EV_NO_ACTION is not measured
		if e.Index != 4 || e.Type == noAction {
			continue
		}
		if len(e.Digest) != 32 {
			return s, nil, errors.New("reading the event log of this boot: it has no SHA-256 digests")
		}
		now := [32]byte(e.Digest)
		next, ok := swap[now]
		if !ok {
			next = now
		}
		found[now] = found[now] || ok
		s.now = sha256.Sum256(append(s.now[:], now[:]...))
		s.next = sha256.Sum256(append(s.next[:], next[:]...))
	}
	return s, found, nil
}
