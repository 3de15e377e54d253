package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// played is a role on the machine that Ansible runs on, as another test tells
// it from the playbook in the recipe.
const played = `
- hosts: localhost
  connection: local
  gather_facts: true
  roles:
    - role: latchkey_kms
      latchkey_kms_settings: SETTINGS
      latchkey_kms_start: false
`

// TestAnsible: the key server's role makes a machine what it says, changes
// nothing when it runs again, and leaves the configuration that is there where
// the new one is wrong. The programs are the real ones; nothing is started,
// since systemd does not run there.
//
// compatible: Release | ansible-core 2.19 (Debian 13) | plays the role of the key server
func TestAnsible(t *testing.T) {
	if os.Getenv(recipesEnv) == "" {
		in(t, "true") // skips
	}
	bin := filepath.Join(t.TempDir(), "latchkey-kms")
	build := exec.Command("go", "build", "-o", bin, "latchkey/cmd/latchkey-kms")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	kms, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	unit, err := os.ReadFile("../images/systemd/latchkey-kms.service")
	if err != nil {
		t.Fatal(err)
	}
	const play = "ansible-playbook -i localhost, /given/NAME.yml"
	out, err := in(t, `export ANSIBLE_ROLES_PATH=/deploy/ansible/roles ANSIBLE_NOCOLOR=1
install -m 644 /given/latchkey-kms.service /usr/lib/systemd/system/
echo first; `+strings.Replace(play, "NAME", "right", 1)+`
echo again; `+strings.Replace(play, "NAME", "right", 1)+`
echo wrong; if `+strings.Replace(play, "NAME", "wrong", 1)+`; then echo taken; fi
echo; cat /etc/latchkey/kms.yaml; ls /etc/systemd/system/multi-user.target.wants
ansible-playbook -i 'key,' --syntax-check /deploy/ansible/site.yml`,
		"latchkey-kms", string(kms), "latchkey-kms.service", string(unit),
		"right.yml", strings.Replace(played, "SETTINGS", "{enroll: closed, advertise: [kms.local]}", 1), "wrong.yml", strings.Replace(played, "SETTINGS", "{enrol: closed}", 1))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, first, _ := strings.Cut(out, "first\n")
	first, again, _ := strings.Cut(first, "again\n")
	again, wrong, _ := strings.Cut(again, "wrong\n")
	for what, ok := range map[string]bool{
		"the first play changes something":   strings.Contains(first, "failed=0") && !strings.Contains(first, "changed=0"),
		"the second one changes nothing":     strings.Contains(again, "changed=0") && strings.Contains(again, "failed=0"),
		"a wrong one fails, with the line":   strings.Contains(wrong, "failed=1") && strings.Contains(wrong, `unknown key \"enrol\"`) && !strings.Contains(wrong, "taken"),
		"the configuration is the first one": strings.Contains(wrong, "enroll: closed") && strings.Contains(wrong, "- kms.local"),
		"it is started with the machine":     strings.Contains(wrong, "latchkey-kms.service"),
		"the playbook of the recipe is one":  strings.Contains(wrong, "playbook: /deploy/ansible/site.yml"),
	} {
		if !ok {
			t.Errorf("not so: %s\n%s", what, out)
		}
	}
}
