package main

// released are rules of what is built and handed out.
var released = []mutant{
	{`initramfs/build.go: microcode is x86's`, `initramfs/build.go`, `if !hasBoards(k.machine) { // microcode`, `if true { // microcode`, `./initramfs`, `TestBoards`},
	{`images/release: the second build compiles anew`, `images/release/twice.go`, "\tif p.cache {\n", "\tif false {\n", `./images/release`, `TestTwice`},
	{`images/release: under another umask`, `images/release/twice.go`, `umask: "077"`, `umask: "022"`, `./images/release`, `TestTwice`},
	{`images/release: from files of another time`, `images/release/twice.go`, `os.Chtimes(path, p.times, p.times)`, `nil`, `./images/release`, `TestTwice`},
	{`images/release: in another time zone`, `images/release/twice.go`, `"TZ=Asia/Kathmandu", `, `"TZ=UTC", `, `./images/release`, `TestTwice`},
	{`images/release: nothing is kept that differs`, `images/release/twice.go`, `if err := compare(made[0], made[1]); err != nil {`, `if err := compare(made[0], made[0]); err != nil {`, `./images/release`, `TestTwice`},
	{`images/release: a file too many`, `images/release/compare.go`, "\t\tcase !there:\n\t\t\twrong = append(wrong, fmt.Errorf(\"only the second has %s\", name))\n", "\t\tcase !there:\n", `./images/release`, `TestTwice`},
	{`images/release: no file is no release`, `images/release/compare.go`, `if len(one)+len(other) == 0 {`, `if false {`, `./images/release`, `TestTwice`},
	{`images/release: modes count`, `images/release/compare.go`, `case other[name] != mode:`, `case false:`, `./images/release`, `TestTwice`},
	{`images/release: materials are of the program`, `images/release/materials.go`, `refs := slices.Sorted(maps.Keys(uses))`, `refs := slices.Sorted(maps.Keys(uses))[:0]`, `./images/release`, `TestMaterials`},
	{`images/release: Go's library is a material`, `images/release/materials.go`, "\tadd(\"std\", strings.TrimPrefix(info.GoVersion, \"go\"))\n", "\t_ = strings.TrimPrefix\n", `./images/release`, `TestMaterials`},
	{`images/release: provenance of a whole commit`, `images/release/provenance.go`, `if !commitRE.MatchString(commit) {`, `if false {`, `./images/release`, `TestProvenance`},
	{`images/release: sums of modules, not of their go.mod`, `images/release/provenance.go`, ` || strings.HasSuffix(word[1], "/go.mod")`, ``, `./images/release`, `TestProvenance`},
	{`images/release: only P-256, as cosign`, `images/release/sign.go`, `!ok || private.Curve != elliptic.P256()`, `!ok || private.Curve == elliptic.P224()`, `./images/release`, `TestSignRefuses`},
	{`images/release: the trusted comment names the file`, `images/release/sign.go`, `"file:"+name`, `""`, `./images/release`, `TestSign`},
	{`Makefile: programs know their commit`, `Makefile`, ` -X latchkey/internal/version.commit=$(COMMIT)`, ``, `.`, `TestInitBudget`},
	{`images/oci: not as root`, `images/oci/image.go`, `c.Config.User = userText`, `c.Config.User = "0:0"`, `./images/oci`, `TestImage`},
	{`images/oci: one time`, `images/oci/image.go`, `h.ModTime, h.Size, h.Format = t.time, `, `h.ModTime, h.Size, h.Format = time.Now(), `, `./images/oci`, `TestImage`},
	{`images/oci: the data is the user's`, `images/oci/image.go`, `Typeflag: tar.TypeDir, Uid: user, Gid: user}`, `Typeflag: tar.TypeDir}`, `./images/oci`, `TestImage`},
	{`images/oci: the program is not the user's`, `images/oci/image.go`, `im.program, Mode: 0o755}, program)`, `im.program, Mode: 0o755, Uid: user}, program)`, `./images/oci`, `TestImage`},
	{`images/oci: a layer is known by what it unpacks to`, `images/oci/main.go`, `digest(layer)`, `digest(packed)`, `./images/oci`, `TestImage`},
	{`images/oci: each architecture is named`, `images/oci/main.go`, `d.Platform = platformOf(arch)`, `d.Platform = platformOf("amd64")`, `./images/oci`, `TestImage`},
	{`images/oci: materials are in the image`, `images/oci/image.go`, `0o644}, materials)`, `0o644}, nil)`, `./images/oci`, `TestImage`},
}
