package initramfs

import (
	"fmt"

	"latchkey/internal/hosttab"
	"latchkey/internal/mapping"
	"latchkey/internal/plan"
)

// pathModules are those that map a disk with several paths.
var pathModules = []string{"dm_multipath", "dm_service_time"}

// forPaths are the modules that map this machine's disks with several paths,
// and that switch between their ports.
func forPaths(host hosttab.Host) []string {
	if len(host.Multipaths()) == 0 {
		return nil
	}
	return append([]string{"scsi_dh_alua"}, pathModules...)
}

// multipaths notes in the plan the disks with several paths that its volumes
// lie on, as this machine calls them. They are mapped also in a boot in which
// one path is there.
func multipaths(p *plan.Plan, host hosttab.Host) {
	for _, v := range p.Volumes {
		for _, m := range host.MultipathsOf(v.UUID) {
			if _, there := p.PathsOf(m.WWID); !there && mapping.CheckName(mapping.PartName(m.Name, 128)) == nil {
				p.Multipath = append(p.Multipath, plan.Multipath{WWID: m.WWID, Name: m.Name})
			}
		}
	}
}

// pathWarnings names disks with several paths that the image cannot map.
func (k *kernel) pathWarnings(p *plan.Plan, index *plan.Modules) (list []string) {
	for _, m := range p.Multipath {
		for _, name := range pathModules {
			if index.Find(name) < 0 && !k.builtin[name] {
				list = append(list, fmt.Sprintf("the disk %s (%s) has several paths, and the module %s is not in the image: it is used over one path; write modules: {add: [%s]} in latchkey.yaml", m.WWID, m.Name, name, name))
			}
		}
	}
	return list
}
