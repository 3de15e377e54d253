package server

import (
	"fmt"
	"strconv"

	"latchkey/kms/ledger"
)

// gaugeDataKeys adds what is known of the data keys.
func (m *measured) gaugeDataKeys(s *Server) {
	each := func(value func(ledger.DataKey) float64) func(func(float64, ...string)) {
		return func(set func(float64, ...string)) {
			keys, err := s.DataKeys()
			if err != nil {
				return
			}
			for _, k := range keys {
				set(value(k), strconv.FormatUint(uint64(k.ID), 10))
			}
		}
	}
	m.Gauge("latchkey_data_key_seals", "Records that a data key has encrypted, by all servers, counted from format 3 of the store on.",
		each(func(k ledger.DataKey) float64 { return float64(k.Seals) }), "key")
	m.Gauge("latchkey_data_key_seals_limit", "Records that a data key may encrypt; after three quarters it is changed by itself.",
		each(func(k ledger.DataKey) float64 { return float64(k.Limit) }), "key")
	m.Gauge("latchkey_data_key_made_timestamp_seconds", "When a data key was made, in seconds since 1970; 0: with the key server, or before format 3.",
		each(func(k ledger.DataKey) float64 { return float64(k.Made) }), "key")
	m.Gauge("latchkey_data_key_changing", "1 while the data key is being changed.", func(set func(float64, ...string)) {
		if changing, _, err := s.ChangingDataKey(); err == nil {
			set(truth(changing))
		}
	})
	m.Gauge("latchkey_data_key_rows_left", "Records that the old data key encrypts, while this server changes it.", func(set func(float64, ...string)) {
		if left, here := s.RecordsLeft(); here {
			set(float64(left))
		}
	})
}

// dataKeyText is what /readyz says of the data key: nothing as long as there
// is nothing to do.
func (s *Server) dataKeyText() string {
	keys, err := s.DataKeys()
	if err != nil || len(keys) == 0 {
		return ""
	}
	if len(keys) > 1 {
		text := fmt.Sprintf("changing the data key from %d to %d", keys[0].ID, keys[1].ID)
		if left, here := s.RecordsLeft(); here {
			text += fmt.Sprintf(": %d records are left", left)
		}
		return text + "\n"
	}
	if k := keys[0]; k.Seals >= k.Limit/2 {
		return fmt.Sprintf("data key %d has encrypted %d records of %d that it may: latchkey-kms store rekey\n", k.ID, k.Seals, k.Limit)
	}
	return ""
}
