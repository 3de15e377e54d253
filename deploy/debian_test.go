package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"latchkey/initramfs"
)

// recipesEnv names the folder that images/recipes-root made.
const recipesEnv = "LATCHKEY_RECIPES"

// in runs a script in that root, with this folder at /deploy and the files at
// /given, without what the machine has: nothing of it stays.
func in(t *testing.T, script string, files ...string) (string, error) {
	t.Helper()
	root := os.Getenv(recipesEnv)
	switch {
	case root == "" && os.Getenv("CI") == "true":
		t.Fatalf("needs the tools of the recipes: %s=$(images/recipes-root)", recipesEnv)
	case root == "":
		t.Skipf("needs the tools of the recipes: %s=$(images/recipes-root)", recipesEnv)
	case os.Getuid() != 0:
		t.Skip("needs root, for a root of its own")
	}
	work := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(work, files[i]), []byte(files[i+1]), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	const enter = `mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root" || exit 1
mkdir -p "$2/root/deploy" "$2/root/given" && mount --bind "$3" "$2/root/deploy" && mount --bind "$4" "$2/root/given" &&
mount -t proc proc "$2/root/proc" && mount --rbind /dev "$2/root/dev" && mount -t tmpfs tmpfs "$2/root/tmp" || exit 1
exec chroot "$2/root" env -i PATH=/given:/usr/sbin:/usr/bin HOME=/root LANG=C.UTF-8 sh -euc "$5"`
	upper := t.TempDir()
	for _, dir := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(upper, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const mount = `mount -t tmpfs tmpfs "$2" && mkdir "$2/upper" "$2/work" "$2/root" && `
	out, err := exec.Command("unshare", "--mount", "--net", "sh", "-c", mount+enter, "sh", root, upper, here, work, script).CombinedOutput()
	return string(out), err
}

// TestNix: the package and the module are right by Nix' own parser. Nothing
// builds them here: that takes a store of NixOS.
//
// compatible: Release | Nix 2.26 | parses the package and the module for NixOS
func TestNix(t *testing.T) {
	for _, file := range []string{"default.nix", "module.nix"} {
		if out, err := in(t, "nix-instantiate --parse --store dummy:// /deploy/nixos/"+file+" >/dev/null"); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
	if out, err := in(t, "nix-instantiate --parse --store dummy:// /given/wrong.nix", "wrong.nix", "{ a = ; }"); err == nil || !strings.Contains(out, "syntax error") {
		t.Errorf("what is wrong: %v\n%s", err, out)
	}
}

// TestCloudInit: user data is what cloud-init knows, and the key server takes
// the configuration in it.
//
// compatible: Release | cloud-init 25 (Debian 13) | takes our user data by its schema
func TestCloudInit(t *testing.T) {
	for _, file := range []string{"key-server.yaml", "machine.yaml"} {
		if out, err := in(t, "cloud-init schema --config-file /deploy/cloud-init/"+file); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
	if out, err := in(t, "cloud-init schema --config-file /given/wrong.yaml", "wrong.yaml", "#cloud-config\nruncmd: {a: b}\n"); err == nil {
		t.Errorf("what is wrong is taken:\n%s", out)
	}
	var data struct {
		Files []struct{ Path, Content string } `yaml:"write_files"`
	}
	text, err := os.ReadFile("cloud-init/key-server.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &data)
	}
	if err != nil || len(data.Files) != 1 {
		t.Fatalf("the user data has %d files: %v", len(data.Files), err)
	}
	taken(t, data.Files[0].Content)
}

// TestMkosi: mkosi reads the recipe, and the image's plan is one.
//
// compatible: Release | mkosi 25 (Debian 13) | reads the recipe of a disk image
func TestMkosi(t *testing.T) {
	out, err := in(t, "cp -r /deploy/mkosi /tmp/m && mkdir /tmp/m/packages && cd /tmp/m && mkosi --no-pager summary")
	for _, want := range []string{"trixie", "mkosi.postinst", "mkosi.repart", "latchkey"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("mkosi summary has no %q: %v\n%s", want, err, out)
			break
		}
	}
	f, err := os.Open("mkosi/mkosi.extra/etc/latchkey/latchkey.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := initramfs.ReadConfig(f.Name(), f)
	if err == nil {
		_, err = c.Plan()
	}
	if err != nil {
		t.Error(err)
	}
}
