package plan_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"latchkey/internal/plan"
)

// fill gives v a value that is not zero. n makes values differ.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{192, 0, 2, byte(*n)})))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.PrefixFrom(netip.MustParseAddr("2001:db8::1"), *n%100+1)))
		return
	case plan.MAC:
		v.SetString(fmt.Sprintf("52:54:00:00:00:%02x", *n%256))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("word %d/of=a.plan", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n)*1000 - 3)
	case reflect.Uint32:
		v.SetUint(uint64(0xffff_0000 + *n))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	default:
		panic("a plan has a field of kind " + v.Kind().String())
	}
}

// leaves calls do once for each field of a plan, alone in it but for those
// around it.
func leaves(t reflect.Type, path []int, do func(path []int)) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(path[:len(path):len(path)], i)
		if f.Type.Kind() == reflect.Struct && f.Type.PkgPath() != "net/netip" {
			leaves(f.Type, at, do)
		}
		do(at)
	}
}

// ours is what of a plan is in its file.
var ours = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
	cmp.FilterPath(func(p cmp.Path) bool {
		f, ok := p.Last().(cmp.StructField)
		if !ok {
			return false
		}
		field, _ := p.Index(-2).Type().FieldByName(f.Name())
		return field.Tag.Get("json") == "-"
	}, cmp.Ignore()),
}

func encoded(t testing.TB, p *plan.Plan) []byte {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// Whatever a plan holds is read without encoding/json, and is what that reads:
// a plan without anything, with each field alone, and with all.
func TestCanonical(t *testing.T) {
	check := func(what string, p *plan.Plan) {
		t.Helper()
		file := encoded(t, p)
		got, ok := plan.ReadCanonical(file)
		var want plan.Plan
		if err := json.Unmarshal(file, &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, got, ours); !ok || diff != "" {
			t.Errorf("%s: read at once: %t (-want +got):\n%s\n%s", what, ok, diff, file)
		}
	}
	check("nothing", &plan.Plan{})
	n := 0
	leaves(reflect.TypeFor[plan.Plan](), nil, func(path []int) {
		var p plan.Plan
		v := reflect.ValueOf(&p).Elem().FieldByIndex(path)
		fill(v, &n)
		check(fmt.Sprint(reflect.TypeFor[plan.Plan]().FieldByIndex(path).Name), &p)
	})
	var all plan.Plan
	fill(reflect.ValueOf(&all).Elem(), &n)
	check("all", &all)
	all.Wait, all.Version = -time.Second, -1<<62
	check("negative numbers", &all)
}

// canonical is what Decode's last check is: the file is what the plan that is
// read from it is written as.
func canonical(file []byte) (*plan.Plan, bool) {
	var p plan.Plan
	d := json.NewDecoder(bytes.NewReader(file))
	d.DisallowUnknownFields()
	if d.Decode(&p) != nil {
		return nil, false
	}
	again, err := json.Marshal(&p)
	return &p, err == nil && bytes.Equal(append(again, '\n'), file)
}

// agrees fails if a file is read at once that Decode would refuse, or as
// another plan.
func agrees(t *testing.T, file []byte) {
	t.Helper()
	got, ok := plan.ReadCanonical(file)
	if !ok {
		return
	}
	want, sound := canonical(file)
	if !sound {
		t.Fatalf("a file is read at once that is not as it is written:\n%s", file)
	}
	if diff := cmp.Diff(want, got, ours); diff != "" {
		t.Fatalf("%s\n(-want +got):\n%s", file, diff)
	}
}

// What is not written so is left to encoding/json, or refused: nothing is read
// in two ways.
func TestNotCanonical(t *testing.T) {
	var all plan.Plan
	n := 0
	fill(reflect.ValueOf(&all).Elem(), &n)
	full, empty := string(encoded(t, &all)), string(encoded(t, &plan.Plan{}))
	for _, row := range []struct{ name, from, old, new string }{
		{"a space", full, `"version":`, `"version": `},
		{"an unknown key", full, `"trust":`, `"trusted":1,"trust":`},
		{"a key twice", full, `"debug":true`, `"debug":true,"debug":true`},
		{"a key in another case", full, `"debug"`, `"Debug"`},
		{"an escape", full, `"kms":["word`, `"kms":["\u0077ord`},
		{"a byte that is not ASCII", full, `"kms":["word`, "\"kms\":[\"\xe9"},
		{"a number with a zero before it", full, `"version":`, `"version":0`},
		{"a fraction", full, `"mtu":`, `"mtu":1.5e`},
		{"a number that is too large", full, `"nv_index":`, `"nv_index":9`},
		{"an address in another form", full, `"to":"2001:db8`, `"to":"2001:0db8`},
		{"no end of line", full, "}\n", "}"},
		{"something behind it", full, "}\n", "}\n\n"},
		{"a key that is zero", empty, `"tpm":{}`, `"tpm":{"ek":""}`},
		{"an empty list", empty, `"tpm":{}`, `"tpm":{},"key_files":[]`},
		{"an empty object", empty, `"root":{}`, `"usr":{},"root":{}`},
		{"a key that is missing", empty, `"tpm":{},`, ``},
		{"null in a list", full, `"kms":["word`, `"kms":[null,"word`},
		{"another order", empty, `"find":{},"net":{}`, `"net":{},"find":{}`},
	} {
		file := strings.Replace(row.from, row.old, row.new, 1)
		if file == row.from {
			t.Errorf("%s: %q is not in the file", row.name, row.old)
			continue
		}
		if _, ok := plan.ReadCanonical([]byte(file)); ok {
			t.Errorf("%s: it was read at once", row.name)
		}
	}
	for i := 0; i < len(full); i += 5 {
		agrees(t, []byte(full[:i]+"0"+full[i+1:]))
		agrees(t, []byte(full[:i]+full[i+1:]))
	}
}

func FuzzCanonical(f *testing.F) {
	var all plan.Plan
	n := 0
	fill(reflect.ValueOf(&all).Elem(), &n)
	f.Add(encoded(f, &all))
	f.Add(encoded(f, &plan.Plan{}))
	f.Fuzz(func(t *testing.T, file []byte) { agrees(t, file) })
}
