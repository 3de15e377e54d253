package config

import (
	"reflect"

	"latchkey/internal/strictyaml"
)

// NeedRestart lists the keys that differ and are only read at start.
func NeedRestart(a, b *Config) []string {
	return needRestart(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), "")
}

func needRestart(a, b reflect.Value, path string) (keys []string) {
	for i := range a.NumField() {
		f := a.Type().Field(i)
		key := strictyaml.KeyOf(f)
		if f.Anonymous {
			keys = append(keys, needRestart(a.Field(i), b.Field(i), path)...)
			continue
		}

		if key == "" {
			continue
		}
		if path != "" {
			key = path + "." + key
		}

		switch {
		case f.Tag.Get("restart") == "yes":
			if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
				keys = append(keys, key)
			}
		case f.Type.Kind() == reflect.Struct:
			keys = append(keys, needRestart(a.Field(i), b.Field(i), key)...)
		}
	}
	return keys
}
