package boot

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"latchkey/boot/wire"
	"latchkey/internal/meminfo"
	"latchkey/internal/plan"
)

func (b *pid1) readPlan() error {
	start := b.sys.Now()
	b.partly = b.truncated()
	file, err := b.sys.ReadFile(wire.PlanFile)
	switch {
	case err != nil && b.partly != nil:
		return b.partly
	case err != nil:
		return &StepError{"plan", "plan-invalid", err}
	case b.partly != nil: // what is missing may not be needed
		b.sys.Log(Human, b.partly.Error()+"; going on without the rest")
	}

	cmdline, err := b.sys.ReadFile(wire.CmdlineAt)
	if err != nil {
		return &StepError{"plan", "plan-invalid", err}
	}

	image, err := b.sys.ReadFile(wire.ImageCmdline)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return &StepError{"plan", "plan-invalid", err}
	}

	p, problems, err := plan.Parse(file, string(cmdline), string(image))
	if err != nil {
		return &StepError{"plan", "plan-invalid", err}
	}

	b.plan = p
	b.sys.Log(Info, "plan: "+p.String())
	for _, problem := range problems {
		b.sys.Log(Human, problem.String())
	}
	b.takeExtra()
	b.step("plan", start, "")
	return nil
}

// truncated tells whether the kernel left a part of the image out. Without
// enough memory it stops in the middle of a file, says "Initramfs unpacking
// failed: write error" and runs the init all the same (init/initramfs.c).
// Only an image that says how large it is can be judged.
func (b *pid1) truncated() *StepError {
	text, err := b.sys.ReadFile(wire.ImageSize)
	if err != nil {
		return nil
	}
	if _, err := b.sys.ReadFile(wire.ImageEnd); !errors.Is(err, os.ErrNotExist) {
		return nil
	}

	size, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64) // 0 is of no use, and no harm
	memory, _ := b.sys.ReadFile(meminfo.File)
	return &StepError{"image", "image-truncated", fmt.Errorf(
		"the kernel did not unpack all of the image of %d MB: the machine has %d MB of memory and needs about %d MB",
		size>>20, meminfo.TotalIn(memory)>>20, meminfo.ForImage(size)>>20)}
}
