package initramfs

import (
	"errors"
	"reflect"
	"time"

	"latchkey/internal/plan"
)

// A KairosConfig says where passphrases are had as Kairos' own client has
// them. All volumes that list it have one.
type KairosConfig struct {
	Server    string        `yaml:"server"` // challenger_server
	MDNS      bool          `yaml:"mdns"`
	Legacy    bool          `yaml:"legacy"`
	AnyServer bool          `yaml:"any-server"`
	CA        []string      `yaml:"ca"`  // files, or certificates as PEM
	Pin       []string      `yaml:"pin"` // as plan.TLS has them
	NVIndex   uint32        `yaml:"nv-index"`
	CIndex    uint32        `yaml:"c-index"`
	Wait      time.Duration `yaml:"wait"`

	certificates []string // of CA, as PEM
}

// checkKairos reads the certificates, and wants the source to be the same for
// all volumes.
func (c *Config) checkKairos(k *KairosConfig) (err error) {
	if k == nil {
		return nil
	}
	if k.certificates, err = c.readCAs(k.CA); err != nil {
		return err
	}
	for _, v := range c.Volumes {
		for _, s := range v.Sources {
			if s.Kairos != nil && !reflect.DeepEqual(s.Kairos.said(), k.said()) {
				return errors.New("two volumes say two things of it, and there is one server: say the same for both")
			}
		}
	}
	return nil
}

// said is what the file says.
func (k *KairosConfig) said() KairosConfig {
	said := *k
	said.certificates = nil
	return said
}

func (k *KairosConfig) plan() plan.Kairos {
	return plan.Kairos{
		Server: k.Server, MDNS: k.MDNS, Legacy: k.Legacy, AnyServer: k.AnyServer, TLS: plan.TLS{CA: k.certificates, Pins: k.Pin},
		NVIndex: k.NVIndex, KeyIndex: k.CIndex, Wait: k.Wait,
	}
}
