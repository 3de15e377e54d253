package policy_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"latchkey/kms/server/policy"
)

// Every field of Settings is in the one table by which they are laid over
// each other and forgotten, under the name that the configuration has.
func TestSettingsAreAll(t *testing.T) {
	var want []string
	fields := reflect.TypeFor[policy.Settings]()
	for i := range fields.NumField() {
		want = append(want, strings.Split(fields.Field(i).Tag.Get("yaml"), ",")[0])
	}
	got := policy.SettingNames()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("SettingNames() = %v, want %v", got, want)
	}
	if _, err := (policy.Settings{}).Without([]string{"hue"}); err == nil {
		t.Error("a setting was forgotten that there is not")
	}
}
