package prompt

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// What is typed is a line, whatever ends it; more than a passphrase can
// have is forgotten, not cut.
func TestReadLine(t *testing.T) {
	mashed := bytes.Repeat([]byte("x"), maxLine+2)
	for _, row := range []struct {
		name  string
		reads []string
		want  string
		err   error
	}{
		{"a line", []string{"correct horse\n"}, "correct horse", nil},
		{"carriage return", []string{"correct horse\r"}, "correct horse", nil},
		{"in pieces", []string{"correct", " horse", "\n"}, "correct horse", nil},
		{"empty", []string{"\n"}, "", nil},
		{"as long as it may be", []string{string(mashed[:maxLine]) + "\n"}, string(mashed[:maxLine]), nil},
		{"keys mashed, then a line", []string{string(mashed), string(mashed), "key\n"}, "key", nil},
		{"the end", nil, "", io.EOF},
		{"the end in the middle", []string{"half"}, "", io.EOF},
	} {
		line, err := readLine(&pieces{row.reads})
		if string(line.Reveal()) != row.want || !errors.Is(err, row.err) {
			t.Errorf("%s: readLine = %q, %v, want %q, %v", row.name, line.Reveal(), err, row.want, row.err)
		}
	}
}

// pieces is a reader that gives one piece for each read.
type pieces struct{ left []string }

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[0])
	if p.left[0] = p.left[0][n:]; p.left[0] == "" {
		p.left = p.left[1:]
	}
	return n, nil
}
