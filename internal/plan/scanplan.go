package plan

// readCanonical reads a plan file that is exactly what Encode writes; ok is
// false if it may be otherwise. TestCanonical compares it with encoding/json,
// field by field.
func readCanonical(file []byte) (p *Plan, ok bool) {
	p = &Plan{}
	s := &scan{b: file}
	s.plan(p)
	s.want("\n")
	return p, !s.bad && s.at == len(file)
}

func (s *scan) plan(p *Plan) {
	s.object(func() {
		scanInt(s, must, "version", &p.Version)
		s.objectAt(must, "trust", func() { scanTexts(s, must, "kms", &p.Trust.KMS) })
		s.objectAt(must, "find", func() {
			scanTexts(s, may, "urls", &p.Find.URLs)
			scanTexts(s, may, "services", &p.Find.Services)
			scanInt(s, may, "timeout_ns", &p.Find.Timeout)
			s.bool(may, "no_report", &p.Find.NoReport)
		})
		s.objectAt(must, "net", func() { s.net(&p.Net) })
		s.objectAt(must, "tpm", func() {
			scanText(s, may, "ek", &p.TPM.EK)
			s.bool(may, "kept", &p.TPM.Kept)
		})
		s.list(must, "volumes", func() { s.volume(p) })
		s.list(may, "key_files", func() { s.keyFile(p) })
		s.list(may, "recipes", func() { s.recipe(p) })
		s.sources(p)
		scanInt(s, may, "head_start_ns", &p.HeadStart)
		scanInt(s, may, "degraded_ns", &p.Degraded)
		s.objectAt(must, "root", func() { s.root(&p.Root) })
		s.objectAt(may, "usr", func() {
			scanText(s, may, "device", &p.Usr.Device)
			scanText(s, may, "fstype", &p.Usr.FSType)
			scanText(s, may, "flags", &p.Usr.Flags)
		})
		s.objectAt(must, "on_fail", func() {
			scanText(s, must, "action", &p.OnFail.Action)
			scanInt(s, must, "after_ns", &p.OnFail.After)
		})
		s.objectAt(must, "modules", func() {
			scanTexts(s, may, "always", &p.Modules.Always)
			scanTexts(s, may, "blocked", &p.Modules.Blocked)
		})
		s.objectAt(may, "stub", func() {
			scanTexts(s, may, "credentials", &p.Stub.Credentials)
			s.bool(may, "addons", &p.Stub.Addons)
		})
		scanText(s, may, "resume", &p.Resume)
		s.list(may, "multipath", func() { s.multipath(p) })
		scanInt(s, must, "wait_ns", &p.Wait)
		s.bool(may, "debug", &p.Debug)
	})
}

// sources reads what the sources other than the key server may do.
func (s *scan) sources(p *Plan) {
	s.objectAt(may, "clevis", func() {
		scanTexts(s, may, "tang", &p.Clevis.Tang)
		scanTexts(s, may, "sealed", &p.Clevis.Sealed)
		s.tls(&p.Clevis.TLS)
		scanInt(s, may, "wait_ns", &p.Clevis.Wait)
	})
	s.objectAt(may, "systemd_tpm2", func() {
		scanTexts(s, may, "sealed", &p.Systemd.Sealed)
		s.bool(may, "pin", &p.Systemd.PIN)
	})
	s.objectAt(may, "talos", func() {
		scanTexts(s, may, "kms", &p.Talos.KMS)
		s.tls(&p.Talos.TLS)
		scanTexts(s, may, "sealed", &p.Talos.Sealed)
		scanText(s, may, "node", &p.Talos.Node)
		scanInt(s, may, "wait_ns", &p.Talos.Wait)
	})
	s.objectAt(may, "kairos", func() {
		scanText(s, may, "server", &p.Kairos.Server)
		s.bool(may, "mdns", &p.Kairos.MDNS)
		s.bool(may, "legacy", &p.Kairos.Legacy)
		s.bool(may, "any_server", &p.Kairos.AnyServer)
		s.tls(&p.Kairos.TLS)
		scanInt(s, may, "nv_index", &p.Kairos.NVIndex)
		scanInt(s, may, "key_index", &p.Kairos.KeyIndex)
		scanInt(s, may, "wait_ns", &p.Kairos.Wait)
	})
}

func (s *scan) tls(t *TLS) {
	s.objectAt(may, "tls", func() {
		scanTexts(s, may, "ca", &t.CA)
		scanTexts(s, may, "pins", &t.Pins)
	})
}

func (s *scan) root(r *Root) {
	scanText(s, may, "device", &r.Device)
	scanText(s, may, "fstype", &r.FSType)
	scanText(s, may, "flags", &r.Flags)
	s.bool(may, "rw", &r.ReadWrite)
	scanText(s, may, "init", &r.Init)
	scanText(s, may, "overlay", &r.Overlay)
}

func (s *scan) volume(p *Plan) {
	var v Volume
	s.object(func() {
		scanText(s, must, "uuid", &v.UUID)
		scanText(s, must, "name", &v.Name)
		scanText(s, may, "serial", &v.Serial)
		scanTexts(s, must, "sources", &v.Sources)
		scanText(s, may, "digest", &v.Digest)
		scanText(s, may, "label", &v.Label)
		scanTexts(s, may, "options", &v.Options)
		s.bool(may, "nofail", &v.NoFail)
		s.bool(may, "luks1", &v.LUKS1)
		scanText(s, may, "talos", &v.Talos)
		scanText(s, may, "locked_to", &v.LockedTo)
		scanText(s, may, "accept", &v.Accept)
		s.objectAt(may, "header", func() {
			v.Header = &HeaderFile{}
			scanText(s, may, "device", &v.Header.Device)
			scanText(s, may, "path", &v.Header.Path)
		})
		scanText(s, may, "data", &v.Data)
	})
	p.Volumes = append(p.Volumes, v)
}

func (s *scan) keyFile(p *Plan) {
	var k KeyFile
	s.object(func() {
		scanText(s, must, "name", &k.Name)
		scanText(s, may, "device", &k.Device)
		scanText(s, may, "path", &k.Path)
		scanInt(s, may, "offset", &k.Offset)
		scanInt(s, may, "size", &k.Size)
		scanInt(s, may, "wait_ns", &k.Wait)
	})
	p.KeyFiles = append(p.KeyFiles, k)
}

func (s *scan) recipe(p *Plan) {
	var r Recipe
	s.object(func() {
		scanText(s, must, "name", &r.Name)
		s.list(must, "ways", func() {
			var way []string
			if !s.next("null") {
				s.elements(func() { way = append(way, s.word()) })
			}
			r.Ways = append(r.Ways, way)
		})
	})
	p.Recipes = append(p.Recipes, r)
}

func (s *scan) multipath(p *Plan) {
	var m Multipath
	s.object(func() {
		scanText(s, must, "wwid", &m.WWID)
		scanText(s, must, "name", &m.Name)
	})
	p.Multipath = append(p.Multipath, m)
}
