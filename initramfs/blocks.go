package initramfs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"latchkey/internal/lzma"
	"latchkey/internal/plan"
)

// frequent are the modules of many machines: hypervisors' devices, and the
// disks, links and TPMs that most boards have. The kernel unpacks them with
// the image, faster than the init could.
var frequent = []string{
	"virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "virtio_net", "virtio_rng", "xen_blkfront", "xen_netfront",
	"hv_vmbus", "hv_netvsc", "hv_storvsc", "pci_hyperv", "vmxnet3", "vmw_pvscsi", "ena", "gve",
	"ahci", "nvme", "sd_mod", "e1000", "e1000e", "igb", "igc", "r8169", "realtek", "tg3", "tpm_crb", "tpm_tis",
	"i2c_i801", "lpc_ich", "iTCO_wdt", "xhci_pci", // which nearly all machines ask for, as soon as a link is late
}

// blockSize is how much a block holds at least, in bytes, if there is as much.
// By measurement (decision 0110): blocks of 1 MiB are 2 % smaller, and take
// twice as long to unpack for one module.
const blockSize = 512 << 10

// loadsBlocks tells whether an init loads modules from blocks.
func loadsBlocks(init []byte) bool { return bytes.Contains(init, []byte(plan.BlocksForm)) }

// seldom tells of each module whether it goes into a block: few machines load
// it, and nobody asked for it by name.
func (k *kernel) seldom(c ModulesConfig, p *plan.Plan, index *plan.Modules, ciphers []string) []bool {
	seldom := make([]bool, len(index.List))
	if c.Set == "host" || c.Set == "none" {
		return seldom
	}

	words := slices.Concat(frequent, always, ciphers, p.Net.Modules(), c.Add, fileSystems(p))
	if len(fileSystems(p)) == 0 {
		words = append(words, "ext4")
	}
	var names []string
	for _, word := range words {
		names = append(names, k.resolve(word)...)
	}
	for i, m := range index.List {
		seldom[i] = !slices.Contains(names, m.Name()) && !(hasBoards(k.machine) && inFolders(k.byName[m.Name()], boards))
	}
	for i, m := range slices.Backward(index.List) { // each is behind what it needs
		for _, d := range slices.Concat(m.Deps, m.Soft) {
			seldom[d] = seldom[d] && seldom[i]
		}
	}
	return seldom
}

// byPath are the indexes of the modules by their folders: what is alike
// compresses well together, and one machine often needs several of a folder.
func byPath(index *plan.Modules) []int {
	order := make([]int, len(index.List))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(index.List[a].Path, index.List[b].Path) })
	return order
}

// A packer puts modules into blocks.
type packer struct {
	index  *plan.Modules
	blocks [][]byte
}

// add puts a module behind the others; it tells whether there is room.
func (p *packer) add(i int, data []byte) bool {
	if len(data) > plan.MaxBlock || len(data) == 0 {
		return false
	}
	last := len(p.blocks) - 1
	if last < 0 || len(p.blocks[last])+len(data) > max(blockSize, len(data)) {
		p.blocks = append(p.blocks, nil)
		last++
	}
	p.index.List[i].Part = plan.Part{Block: last, Offset: len(p.blocks[last]), Size: len(data)}
	p.blocks[last] = append(p.blocks[last], data...)
	return true
}

// close compresses the blocks into the archive, all processors at once.
func (p *packer) close(a *archive, base string, c *Compressors, level int) error {
	files, errs := make([][]byte, len(p.blocks)), make([]error, len(p.blocks))
	var wg sync.WaitGroup
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, data := range p.blocks {
		wg.Go(func() {
			turns <- struct{}{}
			files[i], errs[i] = c.lzma(data, level)
			<-turns
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("compressing modules: %w", err)
	}

	for i, data := range p.blocks {
		name := fmt.Sprintf("%sseldom-%03d.lzma", base, i)
		p.index.Blocks = append(p.index.Blocks, plan.Block{File: "/" + name, Size: len(data), Sum: sha256.Sum256(data)})
		a.file(name, files[i], 0o644)
	}
	return nil
}

// InBlocks lists the modules that are in blocks of an image, by the block's
// name: what loads them finds there, and the kernel unpacks none.
func InBlocks(entries []Entry) (map[string][]Entry, error) {
	tree := Unpacked(entries)
	file, err := tree.File(plan.ModulesFile)
	if file == nil || err != nil {
		return nil, err
	}
	index, err := plan.DecodeModules(file.Data)
	if err != nil {
		return nil, err
	}
	in := map[string][]Entry{}
	for i, b := range index.Blocks {
		block, err := tree.File(b.File)
		if err == nil && block == nil {
			err = errors.New("it is not in the image")
		}
		var data []byte
		if err == nil {
			data, err = lzma.Decode(block.Data, b.Size)
		}
		if err == nil && sha256.Sum256(data) != b.Sum {
			err = errors.New("its checksum is another")
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s, which holds modules: %w (build the image again)", b.File, err)
		}
		for _, m := range index.List {
			if m.Packed() && m.Part.Block == i {
				in[block.Name] = append(in[block.Name], Entry{
					Name: strings.TrimPrefix(m.Path, "/"), Mode: 0o644, Size: int64(m.Part.Size), In: block.Name, Data: data[m.Part.Offset : m.Part.Offset+m.Part.Size],
				})
			}
		}
	}
	return in, nil
}
