package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// Every type, against what it must become.
var values = map[string][2]string{ // expression: type, JSON
	"1::smallint":                 {"smallint", "1"},
	"(-2147483648)::int":          {"integer", "-2147483648"},
	"9223372036854775807::bigint": {"bigint", "9223372036854775807"},
	"4294967295::oid":             {"oid", "4294967295"},
	"1.5::real":                   {"real", "1.5"},
	"0.1::float8":                 {"double precision", "0.1"},
	"1e300::float8":               {"double precision", "1e+300"},
	"'NaN'::float8":               {"double precision", "null"},
	"'-Infinity'::real":           {"real", "null"},
	"123456789012345678901234567890.50::numeric": {"numeric", "123456789012345678901234567890.50"},
	"'NaN'::numeric":      {"numeric", "null"},
	"'Infinity'::numeric": {"numeric", "null"},
	"-0.5::numeric(10,2)": {"numeric", "-0.50"},
	"true":                {"boolean", "true"},
	"'ä\"\n\\'::text":     {"text", `"ä\"\n\\"`},
	"''::varchar(3)":      {"character varying", `""`},
	"'a'::char(3)":        {"character", `"a  "`},
	"'n'::name":           {"name", `"n"`},
	`'a'::"char"`:         {`"char"`, `"a"`},
	"timestamptz '2026-01-31 23:30:00.120+01'":            {"timestamp with time zone", `"2026-01-31T22:30:00.12Z"`},
	"timestamptz 'infinity'":                              {"timestamp with time zone", "null"},
	"timestamptz '10000-01-01 00:00:00Z'":                 {"timestamp with time zone", `"10000-01-01 00:00:00+00"`},
	"timestamp '2026-01-31 23:30:00.000001'":              {"timestamp without time zone", `"2026-01-31T23:30:00.000001Z"`},
	"timestamp '-infinity'":                               {"timestamp without time zone", "null"},
	"timestamp '0044-03-15 12:00:00 BC'":                  {"timestamp without time zone", `"0044-03-15 12:00:00 BC"`},
	"date '2026-02-28'":                                   {"date", `"2026-02-28"`},
	"date 'infinity'":                                     {"date", "null"},
	"date '0001-01-01 BC'":                                {"date", `"0001-01-01 BC"`},
	"time '12:34:56.7'":                                   {"time without time zone", `"12:34:56.7"`},
	"interval '1 day 2 hours'":                            {"interval", `"1 day 02:00:00"`},
	`'\x00ff10'::bytea`:                                   {"bytea", `"AP8Q"`},
	`''::bytea`:                                           {"bytea", `""`},
	`'{"a": [1, 2.50], "b":null}'::json`:                  {"json", `{"a": [1, 2.50], "b":null}`},
	`'{"b":1,"a":"x"}'::jsonb`:                            {"jsonb", `{"a": "x", "b": 1}`},
	"'null'::jsonb":                                       {"jsonb", "null"},
	"'{\n\"a\":1}'::json":                                 {"json", `{"a":1}`},
	"'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid":        {"uuid", `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`},
	"'10.0.0.1/8'::inet":                                  {"inet", `"10.0.0.1/8"`},
	"int4range(1, 5)":                                     {"int4range", `"[1,5)"`},
	"row(1, 'a b')::pair":                                 {"pair", `"(1,\"a b\")"`},
	"'so so'::mood":                                       {"mood", `"so so"`},
	"7::tiny":                                             {"integer", "7"},
	"'a b'::tsvector":                                     {"tsvector", `"'a' 'b'"`},
	"point '(1,2)'":                                       {"point", `"(1,2)"`},
	"null::int":                                           {"integer", "null"},
	"null":                                                {"text", "null"},
	"null::int[]":                                         {"integer[]", "null"},
	"'{}'::int[]":                                         {"integer[]", "[]"},
	"array[1,null,-3]":                                    {"integer[]", "[1,null,-3]"},
	"array[[1,2],[3,4]]":                                  {"integer[]", "[[1,2],[3,4]]"},
	"'[0:1]={5,6}'::int[]":                                {"integer[]", "[5,6]"},
	"array[9223372036854775807]":                          {"bigint[]", "[9223372036854775807]"},
	"array['NaN'::float8, 1.5]":                           {"double precision[]", "[null,1.5]"},
	"array[1.10, 2]::numeric[]":                           {"numeric[]", "[1.10,2]"},
	"array[true,false]":                                   {"boolean[]", "[true,false]"},
	`array['a','b c','','NULL','"\',null,'{x,y}']`:        {"text[]", `["a","b c","","NULL","\"\\",null,"{x,y}"]`},
	"array['a'::varchar(5)]":                              {"character varying[]", `["a"]`},
	`array['\x00ff'::bytea]`:                              {"bytea[]", `["AP8="]`},
	`array['{"a":[1]}'::jsonb, 'null']`:                   {"jsonb[]", `[{"a": [1]},null]`},
	"array[timestamptz '2026-01-31 22:30Z']":              {"timestamp with time zone[]", `["2026-01-31T22:30:00Z"]`},
	"array[timestamp '2026-01-31 22:30']":                 {"timestamp without time zone[]", `["2026-01-31T22:30:00Z"]`},
	"array[date '2026-01-31', null]":                      {"date[]", `["2026-01-31",null]`},
	"array['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid]": {"uuid[]", `["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]`},
	"array['happy'::mood, 'so so']":                       {"mood[]", `["happy","so so"]`},
	"array[row(1,'x')::pair]":                             {"pair[]", `["(1,x)"]`},
	"array[5::tiny]":                                      {"tiny[]", "[5]"},
	"'{1,2}'::intlist":                                    {"integer[]", "[1,2]"},
	`'{"{1,2}","{}",NULL,"{null,3}"}'::intlist[]`:         {"intlist[]", "[[1,2],[],null,[null,3]]"},
	`'{{"{1,2}"},{"{3}"}}'::intlist[]`:                    {"intlist[]", "[[[1,2]],[[3]]]"},
	`array['{"{1,2}"}'::intlists]`:                        {"intlists[]", "[[[1,2]]]"},
	"'[-1:0][2:3]={{1,2},{3,4}}'::int[]":                  {"integer[]", "[[1,2],[3,4]]"},
	"array[array[]::int[]]":                               {"integer[]", "[]"},
	"'{}'::pair[]":                                        {"pair[]", "[]"},
	"array[array['a=b','{'],array['[0:1]={x}','\"']]":     {"text[]", `[["a=b","{"],["[0:1]={x}","\""]]`},
	"int4multirange(int4range(1,5),int4range(7,9))":       {"int4multirange", `"{[1,5),[7,9)}"`},
	"array[int4multirange(int4range(1,5))]":               {"int4multirange[]", `["{[1,5)}"]`},
	"'[2026-01-01Z,)'::tstzrange":                         {"tstzrange", `"[\"2026-01-01 00:00:00+00\",)"`},
	"'empty'::int4range":                                  {"int4range", `"empty"`},
	"B'1010'":                                             {"bit", `"1010"`},
	"array[B'10',null]":                                   {"bit[]", `["10",null]`},
	"'12.50'::money":                                      {"money", `"$12.50"`},
	"array['$1,234.50'::money]":                           {"money[]", `["$1,234.50"]`},
	"interval '-1 year 2 mons -3 days 04:05:06.789'":      {"interval", `"-10 mons -3 days +04:05:06.789"`},
	"array[interval '1 day', '2 hours']":                  {"interval[]", `["1 day","02:00:00"]`},
	"timetz '12:00+02'":                                   {"time with time zone", `"12:00:00+02"`},
	`'<a b="1">x</a>'::xml`:                               {"xml", `"<a b=\"1\">x</a>"`},
	"'pg_class'::regclass":                                {"regclass", `"pg_class"`},
	`'{"a":"\\u0000"}'::json`:                             {"json", `{"a":"\\u0000"}`},
	`'{"a":"\ud800"}'::json`:                              {"json", `"{\"a\":\"\\ud800\"}"`},
	`'{"a":1,"a":2}'::json`:                               {"json", `{"a":1,"a":2}`},
	"array['ab'::char(4)]":                                {"character[]", `["ab  "]`},
	"array['Infinity'::numeric,'-Infinity',1.0]":          {"numeric[]", "[null,null,1.0]"},
	"array['Infinity'::float4]":                           {"real[]", "[null]"},
	"'-0'::float8":                                        {"double precision", "-0"},
	"timestamptz '294276-12-31Z'":                         {"timestamp with time zone", `"294276-12-31 00:00:00+00"`},
	"array[timestamp '0044-03-15 BC', 'infinity']":        {"timestamp without time zone[]", `["0044-03-15 00:00:00 BC",null]`},
	"array[date '-infinity', '0044-03-15 BC']":            {"date[]", `[null,"0044-03-15 BC"]`},
	"row(1,2)":                                            {"record", `"(1,2)"`},
	"(select array_agg(r) from readings r where id = 1)":  {"readings[]", `["(1,kitchen,0.125,f,\"2026-01-31 22:31:00+00\")"]`},
	"array[array['\\x01'::bytea]]":                        {"bytea[]", `[["AQ=="]]`},
	"array[int4range(1,5)]":                               {"int4range[]", `["[1,5)"]`},
	"array[box '(1,1),(0,0)', box '(2,2),(1,1)']":         {"box[]", `["(1,1),(0,0)","(2,2),(1,1)"]`},
	"'1 2'::int2vector":                                   {"int2vector", `"1 2"`},
}

func TestValues(t *testing.T) {
	for _, fetch := range []int{0, 10} {
		s := provision(t, &Source{FetchCursor: fetch, Set: []Setting{{"statement_timeout", "1min"}}})
		for expression, want := range values {
			r := mustQuery(t, mustPrepare(t, s, "select "+expression+" as v"), stream.Run{})
			if c := r.Columns()[0]; c != (stream.Column{Name: "v", Type: want[0]}) {
				t.Errorf("%s: column %+v", expression, c)
			}
			if got := drain(t, r); len(got) != 1 || got[0] != want[1] {
				t.Errorf("%s: got %s, want %s", expression, got, want[1])
			}
		}
	}
}

func TestInt64Strings(t *testing.T) {
	s := provision(t, &Source{})
	st := mustPrepare(t, s, "select 1::int, 2::bigint, 2.5::numeric, 0.5::float8, array[3::bigint], 'NaN'::numeric, null::bigint")
	if got, want := drain(t, mustQuery(t, st, stream.Run{Int64Strings: true}))[0], `1,"2","2.5",0.5,["3"],null,null`; got != want {
		t.Errorf("got %s", got)
	}
}

// A site may show times of another zone to its functions; clients get UTC.
func TestTimeZone(t *testing.T) {
	for zone, want := range map[string]string{
		"Europe/Berlin": `"2026-07-01T10:00:00.5Z"`, "Asia/Kolkata": `"2026-07-01T10:00:00.5Z"`, "UTC": `"2026-07-01T10:00:00.5Z"`,
	} {
		s := provision(t, &Source{Set: []Setting{{"timezone", zone}}})
		if got := drain(t, mustQuery(t, mustPrepare(t, s, "select timestamptz '2026-07-01 10:00:00.5Z'"), stream.Run{}))[0]; got != want {
			t.Errorf("%s: got %s", zone, got)
		}
	}
}

// What the database cannot read as a value of the type that it is used as is the client's fault, and it is told so.
func TestValuesThatDoNotFit(t *testing.T) {
	s := provision(t, &Source{})
	for query, arg := range map[string]stream.Value{
		"select @v::date": text("2026-02-30"), "select 1::int2 = @v": integer(70000), "select @v::uuid": text("x"), "select @v::mood": text("x"),
		"select @v::text[]": text("{a"), "select @v::numeric": text("1x"), "select @v::jsonb": text("{"), `select 1, @v::bytea`: text(`\xZ`),
		"select @v::int4range": text("[5,1]"), "select id from readings where at > @v": text("tomorrow or so"),
	} {
		for _, fetch := range []int{0, 2} {
			for _, total := range []stream.TotalMode{stream.TotalNone, stream.TotalEstimate, stream.TotalExact} {
				s.FetchCursor = fetch
				st := mustPrepare(t, s, query, param("v", arg.Type))
				r, err := st.Query(context.Background(), stream.Run{Args: []stream.Value{arg}, Total: total})
				if err == nil {
					_, err = read(r)
				}
				if e, ok := protocol.AsError(err); !ok || e.Code != protocol.InvalidParams || !strings.Contains(e.Message, `"v"`) {
					t.Errorf("%s, fetch %d, %s: got %v", query, fetch, total, err)
				}
			}
		}
	}
	// What goes wrong later is not.
	s.FetchCursor = 0
	_, err := read(mustQuery(t, mustPrepare(t, s, "select @v::text::date", param("v", stream.TypeText)), stream.Run{Args: []stream.Value{text("x")}}))
	if _, told := protocol.AsError(err); told || err == nil {
		t.Errorf("got %v", err)
	}
}
