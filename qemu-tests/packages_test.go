package qemutests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/testlan"
)

// onOverlay runs the script $2 with sh in a copy of the folder $1 that is
// thrown away; $3 is /packages there.
const onOverlay = `set -e
t=$(mktemp -d); mount -t tmpfs tmpfs $t; mkdir $t/upper $t/work $t/root
mount -t overlay overlay -o lowerdir=$1,upperdir=$t/upper,workdir=$t/work $t/root
mkdir $t/root/packages; mount --bind $3 $t/root/packages
mount -t proc proc $t/root/proc; mount -t tmpfs tmpfs $t/root/run; mount -t tmpfs tmpfs $t/root/tmp; mount --rbind /dev $t/root/dev
cat >$t/root/tmp/story <<'EOF'
`

// installed is one story of dpkg, each step with what it must say.
var installed = []struct{ do, want string }{
	{"dpkg -i $include /packages/1/latchkey_*.deb /packages/1/latchkey-kms_*.deb /packages/1/latchkey-responder_*.deb", "latchkey-kms: start it, once its configuration is as you want it"},
	{"dpkg --verify latchkey latchkey-kms latchkey-responder && echo whole", "whole"},
	{"runuser -u latchkey-kms -- latchkey-kms init --config /etc/latchkey/kms.yaml", "created a KMS in /var/lib/latchkey-kms"},
	{"stat -c '%U %a' /var/lib/latchkey-kms", "latchkey-kms 700"},
	{"latchkey-kms store check --config /etc/latchkey/kms.yaml && echo opens", "opens"},
	{"systemd-analyze verify --man=no latchkey-kms.service latchkey-responder.service latchkey-announce.path latchkey-beat.service && echo units", "units"},
	{"apparmor_parser --skip-kernel-load --skip-cache /etc/apparmor.d/latchkey-kms /etc/apparmor.d/latchkey-responder && echo parsed", "parsed"},
	{"LC_ALL=C.UTF-8 lintian --allow-root --tag-display-limit 0 --fail-on error,warning /packages/1/*.deb && echo clean", "clean"},
	{"LC_ALL=C.UTF-8 rpmlint --strict --config /packages/rpmlint.toml /packages/2/*.rpm | tail -n 1", "4 packages and 0 specfiles checked; 0 errors, 0 warnings"},
	{"bash -c '. /usr/share/bash-completion/completions/latchkey && complete -p latchkey'", "latchkey"},
	{"ls /usr/share/man/man8/latchkey-volume-enroll.8.gz /usr/share/latchkey/latchkey.schema.json /etc/kernel/postinst.d/zz-latchkey", "zz-latchkey"},
	{"/etc/kernel/postinst.d/zz-latchkey 6.1.0 && echo nothing to do", "nothing to do"},

	// The agent, which is for the distribution's own initramfs.
	{"dpkg -i $include /packages/1/latchkey-agent_*.deb", "latchkey-agent: write /etc/latchkey/latchkey.yaml"},
	{"dpkg --verify latchkey-agent && systemd-analyze verify --man=no latchkey-agent.service && echo unit", "unit"},
	{"cd /usr && ls share/initramfs-tools/hooks/latchkey-agent share/initramfs-tools/scripts/panic/latchkey-agent lib/cryptsetup/scripts/latchkey " +
		"lib/dracut/modules.d/92latchkey-agent/module-setup.sh share/man/man8/latchkey-agent-run.8.gz && echo in place", "in place"},
	{"dpkg --purge latchkey-agent && ! ls /usr/bin/latchkey-agent /etc/latchkey/agent.conf 2>/dev/null && echo purged", "purged"},

	// What a person changed stays; a machine with images gets new ones, and
	// is told if it does not.
	{"echo 'enroll: closed' >>/etc/latchkey/kms.yaml; echo 'volumes: []' >/etc/latchkey/latchkey.yaml; sha256sum /var/lib/latchkey-kms/* >/tmp/before", ""},
	{"dpkg -i $include /packages/2/latchkey_*.deb /packages/2/latchkey-kms_*.deb /packages/2/latchkey-responder_*.deb", "latchkey: the images were not built again: the old ones stay"},
	{"grep closed /etc/latchkey/kms.yaml && sha256sum -c --quiet /tmp/before && echo kept", "kept"},
	{"dpkg -s latchkey-kms", "Version: 0.0.2"},

	// Removed, and purged: the images and the keys stay, and it is said.
	{"dpkg --remove latchkey", "latchkey: this machine's images stay in /boot and boot as before"},
	{"dpkg --purge latchkey latchkey-kms latchkey-responder", "latchkey-kms: the keys of your machines are still in /var/lib/latchkey-kms."},
	{"sha256sum -c --quiet /tmp/before && echo kept", "kept"},
	{"find /etc/latchkey /usr /etc/kernel /etc/initramfs -name '*latchkey*' -newer /packages/1 2>/dev/null || true; echo rest", "rest"},
	{"! ls /etc/latchkey/kms.yaml /usr/bin/latchkey /etc/kernel/postinst.d/zz-latchkey /etc/apparmor.d/latchkey-kms 2>/dev/null && echo gone", "gone"},
}

// TestPackages has lintian and rpmlint judge the packages, installs, upgrades,
// removes and purges Debian's in a Debian 13, and wants the same bytes from the same
// tree. Only what lintian sees is compressed as Debian does, which takes long.
// The servers under a real systemd are packages.txtar's.
//
// compatible: Boot | lintian (Debian 13) | has nothing to say of the packages
// compatible: Boot | dpkg (Debian 13) | the packages are installed, upgraded, removed and purged
func TestPackages(t *testing.T) {
	root := testlan.DebianRoot(t)
	packages := t.TempDir()
	run(t, ".", "cp", "../images/packages/rpmlint.toml", packages)
	for _, version := range []string{"1", "2", "again"} {
		cmd, compression := exec.Command("../images/packages/build", "deb", "amd64"), "xz"
		if version != "1" {
			cmd.Args = append(cmd.Args, "rpm", "amd64", "apk", "amd64", "archlinux", "amd64")
			compression = "zstd"
		}
		cmd.Env = append(os.Environ(), "PKG_DEB="+compression, "PKG_OUT="+filepath.Join(packages, version), "PKG_VERSION=0.0."+strings.Replace(version, "again", "2", 1))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building the packages: %v\n%s", err, out)
		}
	}
	first, err := os.ReadFile(filepath.Join(packages, "2", "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(filepath.Join(packages, "again", "SHA256SUMS"))
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("two builds of one tree differ (%v):\n%s%s", err, first, second)
	}

	var story strings.Builder
	story.WriteString("export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C\n" +
		"include='--path-include=/usr/share/man/* --path-include=/usr/share/doc/*'\n") // this Debian leaves them out
	for i, step := range installed {
		story.WriteString("echo '== " + string(rune('a'+i)) + "'\n" + step.do + " || { echo \"exit code $?\"; exit 1; }\n")
	}
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", onOverlay+story.String()+"EOF\nexec chroot $t/root sh /tmp/story", "sh", root, "", packages)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the story ended with %v", err)
	}
	parts := strings.Split(string(out), "== ")[1:]
	for i, step := range installed {
		if i >= len(parts) || !strings.Contains(parts[i], step.want) {
			t.Fatalf("%s: want %q in\n%s", step.do, step.want, out)
		}
	}
}
