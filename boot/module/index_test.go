package module_test

import (
	"os"
	"testing"
	"time"

	"latchkey/boot/module"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

// TestParamsOfAddons: what an addon adds to the command line of an image that
// knows its own sets no module's parameters, unless the plan allows addons.
func TestParamsOfAddons(t *testing.T) {
	const image, addon = "ro usb_storage.delay_use=1", "usb_storage.quirks=1234:5678:u"
	for _, row := range []struct {
		name, cmdline, image string
		addons               bool
		want                 string
	}{
		{"the image's own", image + "\n", image, false, "delay_use=1"},
		{"an addon's", image + " " + addon + "\n", image, false, "delay_use=1"},
		{"an addon's that the plan allows", image + " " + addon + "\n", image, true, "delay_use=1 quirks=1234:5678:u"},
		{"another line", addon + "\n", image, false, "delay_use=1"},
		{"not a unified kernel image", addon + "\n", "", false, "quirks=1234:5678:u"},
	} {
		p := &plan.Plan{
			Version: plan.Version, Trust: plan.Trust{KMS: []plan.PublicKey{"lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0="}},
			Find:    plan.Find{URLs: []string{"http://kms.local"}},
			Volumes: []plan.Volume{{UUID: "6d9a2c7e-0b1f-4b7e-9d2c-3f5a8e1b4c60", Name: "root", Sources: []string{"kms"}}},
			OnFail:  plan.OnFail{Action: "reboot", After: time.Minute}, Wait: 180 * time.Second, Stub: plan.Stub{Addons: row.addons},
		}
		file, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		index := plan.Modules{List: []plan.Module{{Path: "/usb-storage.ko"}}}
		files := map[string][]byte{plan.ModulesFile: index.Encode(), wire.PlanFile: file, wire.CmdlineAt: []byte(row.cmdline)}
		if row.image != "" {
			files[wire.ImageCmdline] = []byte(row.image)
		}
		read := func(path string) ([]byte, error) {
			if b, ok := files[path]; ok {
				return b, nil
			}
			return nil, os.ErrNotExist
		}
		got, err := module.ReadIndex(read)
		if err != nil || got.List[0].Params != row.want {
			t.Errorf("%s: ReadIndex = %+v, %v, want parameters %q", row.name, got, err, row.want)
		}
		delete(files, wire.PlanFile)
		if got, err := module.ReadIndex(read); err != nil || got.List[0].Params != "" {
			t.Errorf("%s, without a plan: ReadIndex = %+v, %v, want no parameters", row.name, got, err)
		}
	}
}
