package postgres

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"pgregory.net/rapid"
)

// walWriter writes messages as the plugin does.
type walWriter []byte

func (w *walWriter) bytes(b ...byte)  { *w = append(*w, b...) }
func (w *walWriter) uint16(n int)     { *w = binary.BigEndian.AppendUint16(*w, uint16(n)) }
func (w *walWriter) uint32(n uint32)  { *w = binary.BigEndian.AppendUint32(*w, n) }
func (w *walWriter) text(text string) { *w = append(append(*w, text...), 0) }

// row writes a row: "\x00" stands for NULL and "\x01" for what was left as it is.
func (w *walWriter) row(kind byte, values ...string) {
	w.bytes(kind)
	w.uint16(len(values))
	for _, v := range values {
		switch v {
		case "\x00":
			w.bytes(fieldNull)
		case "\x01":
			w.bytes(fieldUnchanged)
		default:
			w.bytes(fieldText)
			w.uint32(uint32(len(v)))
			*w = append(*w, v...)
		}
	}
}

func (w *walWriter) start(op byte) *walWriter {
	*w = append((*w)[:0], op)
	w.uint32(5)
	return w
}

// notes is a table of the tests: its key is id, and all of it is text or a number.
func notes(t testing.TB) *walTable {
	t.Helper()
	w := walWriter{walRelation}
	w.uint32(5)
	w.text("public")
	w.text("notes")
	w.bytes('d')
	w.uint16(3)
	for _, c := range []struct {
		key  byte
		name string
		oid  uint32
	}{{1, "id", pgtype.Int8OID}, {0, "text", pgtype.TextOID}, {0, "data", pgtype.JSONBOID}} {
		w.bytes(c.key)
		w.text(c.name)
		w.uint32(c.oid)
		w.uint32(0xffffffff)
	}
	table, err := readWALTable(w)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

var notesTypes = []typeInfo{{value: encInt64}, {value: encText}, {value: encJSON}}

func told(d *decoder, table *walTable, msg []byte) string {
	var row walRow
	if err := row.read(msg); err != nil {
		return err.Error()
	}
	c, err := d.decode(&change{table: table, key: []string{"id"}, types: notesTypes, row: &row})
	if err != nil {
		return err.Error()
	}
	list := func(values [][]byte) string {
		var out []string
		for _, v := range values {
			if v == nil {
				v = []byte("?")
			}
			out = append(out, string(v))
		}
		return strings.Join(out, " ")
	}
	return fmt.Sprintf("%s %s (%s) new %s old %s", c.Op, c.Key, c.OldKey, list(c.New), list(c.Old))
}

func TestDecodeChanges(t *testing.T) {
	table := notes(t)
	d := &decoder{columns: []string{"text", "id", "data"}}
	message := func(op byte, rows ...func(w *walWriter)) []byte {
		w := new(walWriter).start(op)
		for _, row := range rows {
			row(w)
		}
		return *w
	}
	row := func(kind byte, values ...string) func(w *walWriter) {
		return func(w *walWriter) { w.row(kind, values...) }
	}
	for name, c := range map[string]struct {
		msg  []byte
		want string
	}{
		"insert":            {message('I', row('N', "7", `a"b`, `{"x": 1}`)), `insert 7 () new "a\"b" 7 {"x": 1} old `},
		"nulls":             {message('I', row('N', "7", "\x00", "\x00")), `insert 7 () new null 7 null old `},
		"update":            {message('U', row('N', "7", "b", "1")), `update 7 () new "b" 7 1 old ? 7 ?`},
		"unchanged":         {message('U', row('N', "7", "b", "\x01")), `update 7 () new "b" 7 ? old ? 7 ?`},
		"key changed":       {message('U', row('K', "6", "\x00", "\x00"), row('N', "7", "b", "1")), `update 7 (6) new "b" 7 1 old ? 6 ?`},
		"full":              {message('U', row('O', "7", "a", "2"), row('N', "7", "b", "\x01")), `update 7 () new "b" 7 2 old "a" 7 2`},
		"full, key":         {message('U', row('O', "6", "a", "2"), row('N', "7", "a", "2")), `update 7 (6) new "a" 7 2 old "a" 6 2`},
		"delete":            {message('D', row('K', "7", "\x00", "\x00")), `delete 7 () new  old ? 7 ?`},
		"full delete":       {message('D', row('O', "7", "a", "\x00")), `delete 7 () new  old "a" 7 null`},
		"delete of nothing": {message('D', row('N', "7", "a", "1")), errMalformed.Error()},
		"short":             {message('I', row('N', "7", "a")), errMalformed.Error()},
		"cut":               {message('I', row('N', "7", "a", "1"))[:15], errMalformed.Error()},
		"more":              {append(message('I', row('N', "7", "a", "1")), 0), errMalformed.Error()},
		"two":               {message('I', row('N', "7", "a", "1"), row('N', "7", "a", "1")), errMalformed.Error()},
		"empty":             {message('U'), errMalformed.Error()},
	} {
		if got := told(d, table, c.msg); got != c.want {
			t.Errorf("%s: got %s\nwant %s", name, got, c.want)
		}
	}
	insert := message('I', row('N', "9007199254740993", "a", "1"))
	if got, want := told(&decoder{columns: []string{"id"}, textEncoder: textEncoder{quoted: true}}, table, insert),
		`insert "9007199254740993" () new "9007199254740993" old `; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, columns := range [][]string{{"id", "size"}, {"text"}} {
		if got := told(&decoder{columns: columns}, table, insert); !strings.Contains(got, "notes") {
			t.Errorf("%v: got %s", columns, got)
		}
	}
}

// Whatever a server sends is either told as JSON or refused.
func FuzzChange(f *testing.F) {
	w := new(walWriter).start('U')
	w.row('O', "7", "a", `{"x":[1]}`)
	w.row('N', "7", "\x01", "\x00")
	f.Add([]byte(*w))
	w.start('D').row('K', "7", "\x00", "\x00")
	f.Add([]byte(*w))
	f.Add([]byte("T\x00\x00\x00\x01\x00\x00\x00\x00\x05"))
	f.Add([]byte("R\x00\x00\x00\x05public\x00x\x00d\x00\x01\x01id\x00\x00\x00\x00\x14\xff\xff\xff\xff"))
	table := notes(f)
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) == 0 {
			return
		}
		if other, err := readWALTable(msg); err == nil && len(other.columns) > len(msg) {
			t.Fatalf("%d columns in %d bytes", len(other.columns), len(msg))
		}
		if ids, err := readTruncate(msg); err == nil && len(ids) > len(msg) {
			t.Fatalf("%d tables in %d bytes", len(ids), len(msg))
		}
		var row walRow
		if row.read(msg) != nil {
			return
		}
		d := &decoder{columns: []string{"id", "text", "data"}}
		c, err := d.decode(&change{table: table, key: []string{"id", "text"}, types: notesTypes, row: &row})
		if err != nil {
			return
		}
		for _, values := range [][][]byte{c.New, c.Old} {
			for i, v := range values {
				// A bigint is what the server says it is.
				if v != nil && i > 0 && !json.Valid(v) {
					t.Fatalf("%q", v)
				}
			}
		}
	})
}

func TestSnapshots(t *testing.T) {
	if _, err := parseSnapshot("10:20"); err == nil {
		t.Error("no list is accepted")
	}
	if _, err := parseSnapshot("10:20:x"); err == nil {
		t.Error("a word is accepted")
	}
	if (&snapshot{}).sees(5) {
		t.Error("nothing sees something")
	}
	rapid.Check(t, func(t *rapid.T) {
		// Ids on either side of where the lower half begins anew.
		from := uint64(rapid.IntRange(0, 3).Draw(t, "epoch"))<<32 + uint64(rapid.Uint32().Draw(t, "low")) + 100
		max := from + uint64(rapid.IntRange(0, 50).Draw(t, "more"))
		var open []uint64
		var texts []string
		for id := from; id < max; id++ {
			if rapid.Bool().Draw(t, "open") {
				open = append(open, id)
				texts = append(texts, fmt.Sprint(id))
			}
		}
		s, err := parseSnapshot(fmt.Sprintf("%d:%d:%s", from, max, strings.Join(texts, ",")))
		if err != nil {
			t.Fatal(err)
		}
		for id := from - 100; id < max+100; id++ {
			if got, want := s.sees(uint32(id)), id < max && !slices.Contains(open, id); got != want {
				t.Fatalf("%d in %d:%d:%v: %v", id, from, max, open, got)
			}
		}
	})
}

func TestTableNames(t *testing.T) {
	for text, want := range map[string]string{
		"orders": "|orders", "Public.Orders": "public|orders", `"Public"."My ""table"""`: `Public|My "table"`, `a."b.c"`: "a|b.c",
		"größe": "|größe", "ÄB": "|Äb", "_x$1": "|_x$1",
		"": "", "a.": "", ".a": "", "a.b.c": "", `"a`: "", `""`: "", `a"b"`: "", "a b": "", "1a": "", "a;drop": "", `"a"b`: "", "$a": "",
	} {
		got, err := parseTable(text)
		if err != nil != (want == "") || err == nil && got.schema+"|"+got.name != want {
			t.Errorf("%s: got %q %v, want %s", text, got, err, want)
		}
	}
	if got := textArray([]byte(`{a,"b c","d\"e\\",NULL}`)); !slices.Equal(got, []string{"a", "b c", `d"e\`, "NULL"}) {
		t.Errorf("got %q", got)
	}
	if got := textArray([]byte("{}")); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

// What a slot will not tell is waited for: transactions that its snapshot sees and others do not, but none that it does not see either.
func TestEyesWait(t *testing.T) {
	before, err := parseSnapshot("10:20:12,15")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		now   []string // snapshots, one look after the other
		looks int
	}{
		"nothing is open":          {[]string{"21:21:"}, 1},
		"open for both":            {[]string{"12:22:12,15,20,21"}, 1},
		"committed but not seen":   {[]string{"11:22:11,12", "11:22:11", "12:22:12,21"}, 3},
		"committed, begun earlier": {[]string{"5:22:5", "6:22:"}, 2},
	} {
		looks := 0
		e := eyes{query: func(context.Context, string, [][]byte) ([][][]byte, error) {
			looks++
			return [][][]byte{{[]byte(c.now[looks-1])}}, nil
		}}
		if err := e.untilAll(t.Context(), before); err != nil || looks != c.looks {
			t.Errorf("%s: %d looks, %v", name, looks, err)
		}
	}
	// The last look answers for whatever it shows.
	looks := 0
	e := eyes{query: func(context.Context, string, [][]byte) ([][][]byte, error) {
		looks++
		return [][][]byte{{[]byte([]string{"30:31:30", "31:40:35"}[looks-1])}}, nil
	}}
	for _, xid := range []uint32{30, 31, 33, 39, 12} {
		if err := e.until(t.Context(), xid); err != nil {
			t.Fatal(err)
		}
	}
	if looks != 2 {
		t.Errorf("%d looks", looks)
	}
	ctx, cancel := context.WithCancel(t.Context())
	e = eyes{query: func(context.Context, string, [][]byte) ([][][]byte, error) {
		cancel()
		return [][][]byte{{[]byte("1:2:1")}}, nil
	}}
	if err := e.until(ctx, 1); err == nil {
		t.Error("it has seen what is not there")
	}
}
