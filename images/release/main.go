// Release is what make release needs beside a shell: it builds twice and
// compares, lists materials, says where files came from, and signs.
//
//	release twice OUT COMMAND…                 builds what is committed in two folders, into OUT
//	release materials NAME VERSION PROGRAM…    prints what Go programs are made of, as CycloneDX
//	release provenance FOLDER VERSION COMMIT   prints what built a folder's files, as SLSA
//	release sign KEY FILE                      writes FILE.minisig or FILE.sig
//
// SOURCE_DATE_EPOCH is the time that materials name, in seconds since 1970.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		args = []string{""}
	}
	switch what, args := args[0], args[1:]; {
	case what == "twice" && len(args) >= 2:
		from, err := committed(ctx)
		if err != nil {
			return err
		}
		return twice(ctx, from, args[0], args[1:])
	case what == "materials" && len(args) >= 3:
		return materials(out, args[0], args[1], args[2:])
	case what == "provenance" && len(args) == 3:
		return provenance(out, args[0], args[1], args[2])
	case what == "sign" && len(args) == 2:
		return sign(args[0], os.Getenv("RELEASE_KEY_PASSWORD_FILE"), args[1])
	}
	return fmt.Errorf("usage: release twice OUT COMMAND… | materials NAME VERSION PROGRAM… | provenance FOLDER VERSION COMMIT | sign KEY FILE")
}
