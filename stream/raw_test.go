package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// rawMemory is a source of statements that clients write.
type rawMemory struct {
	RawSource
	prepare func(sql string, params []Param) (Statement, error)
}

func (r rawMemory) PrepareRaw(_ context.Context, sql string, params []Param) (Statement, error) {
	return r.prepare(sql, params)
}

// answer is a database's answer to a statement, which quotes it.
type answer struct{}

func (answer) Error() string { return `near "select password": syntax error` }
func (answer) Gist() string  { return "syntax error 7" }

func TestRawParams(t *testing.T) {
	for raw, want := range map[string]string{
		"": "[]", "null": "[]", " {} ": "[]",
		`{"t":"5","i":5,"n":5.0,"e":1e3,"b":true,"c":false,"m":-9223372036854775808}`: "[t:text i:integer n:number e:number b:boolean c:boolean m:integer]",
	} {
		params, err := rawParams([]byte(raw))
		got := make([]string, 0)
		for _, p := range params {
			got = append(got, p.Name+":"+string(p.Type))
		}
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, %v", raw, got, err)
		}
		if _, err := Bind(params, []byte(raw), nil); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
	var many []string
	for i := range maxRawParams + 1 {
		many = append(many, fmt.Sprintf(`"p%d":1`, i))
	}
	for _, raw := range []string{
		`[]`, `5`, `{"a":null}`, `{"a":{}}`, `{"a":[1]}`, `{"a b":1}`, `{"":1}`, `{"a":1,"a":2}`, `{"a":1`, `{"a":9223372036854775808}`,
		`{"a":1e999}`, `{"a":"\u0000"}`, `{"ä":1}`, `{"` + strings.Repeat("a", 64) + `":1}`, "{" + strings.Join(many, ",") + "}",
	} {
		query, err := NewRawQuery("q", nil, "select 1", []byte(raw))
		if err == nil {
			_, err = Bind(query.Params, []byte(raw), nil)
		}
		if e, ok := protocol.AsError(err); !ok || e.Code != protocol.InvalidParams {
			t.Errorf("%.60s: got %v", raw, err)
		}
	}
}

// What a client is told of its own statement, and what the log says: the statement itself, and what a database quotes of it, at DEBUG
// only, and its values nowhere.
func TestRawFailures(t *testing.T) {
	fails := func(err error) *memory {
		return &memory{start: func(context.Context, []Value) error { return err }}
	}
	lost := errors.New("the connection is lost")
	for name, test := range map[string]struct {
		prepare error
		result  *memory
		code    protocol.Code
		message string
		level   string // of the line that an operator sees
		logged  string
	}{
		"bad text":      {BadText("there is more than one statement"), nil, protocol.QueryFailed, "there is more than one statement", "info", "more than one"},
		"bad parameter": {fmt.Errorf("SQLite: %w", BadParam("there is no parameter @a")), nil, protocol.InvalidParams, "there is no parameter @a", "info", "@a"},
		"refused":       {answer{}, nil, protocol.QueryFailed, "the statement cannot be run (reference ", "info", "syntax error 7"},
		"refused later": {nil, fails(fmt.Errorf("x: %w", answer{})), protocol.QueryFailed, "the statement cannot be run (reference ", "info", "syntax error 7"},
		"midway": {nil, &memory{rows: 3, before: func(_ context.Context, row int) error {
			if row == 2 {
				return answer{}
			}
			return nil
		}}, protocol.QueryFailed, "the query failed (reference ", "info", "syntax error 7"},
		"a fault":    {lost, nil, protocol.QueryFailed, "the statement cannot be run (reference ", "error", "the connection is lost"},
		"for client": {nil, fails(protocol.Errorf(protocol.LimitExceeded, "full")), protocol.LimitExceeded, "full", "info", "full"},
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			client := &recorder{ended: make(chan message, 1)}
			group := NewRegistry(zap.New(core)).NewGroup(Owner{ConnectionID: "c1"}, client)
			defer group.Close()
			source := rawMemory{prepare: func(sql string, params []Param) (Statement, error) {
				if sql != "select password = @v" || len(params) != 1 {
					t.Errorf("prepared %s with %v", sql, params)
				}
				return test.result, test.prepare
			}}
			values := []byte(`{"v":"the value"}`)
			query, err := NewRawQuery("SQL of a client on x", source, "select password = @v", values)
			if err != nil {
				t.Fatal(err)
			}
			start(t, group, Request{Query: query, QueryName: query.RawText, Params: values})
			m := <-client.ended
			group.Close()
			if m.Code != test.code || !strings.HasPrefix(m.Message, test.message) || strings.Contains(m.Message, "password") {
				t.Errorf("got %+v", m)
			}
			seen := false
			for _, e := range logs.All() {
				text := fmt.Sprint(e.Level, " ", e.Message, e.ContextMap())
				if strings.Contains(text, "password") && e.Level > zap.DebugLevel || strings.Contains(text, "the value") {
					t.Errorf("logged %s", text)
				}
				seen = seen || strings.HasPrefix(text, test.level) && strings.Contains(text, test.logged)
			}
			if !seen || logs.FilterField(zap.String("sql", "select password = @v")).Len() != 1 {
				t.Errorf("logged %v", logs.All())
			}
		})
	}
}

// A named query's errors are not those of a client.
func TestTextErrorsOfNamedQueriesStayInside(t *testing.T) {
	client := &recorder{ended: make(chan message, 1)}
	group := newGroup(t, client)
	statement := &memory{start: func(context.Context, []Value) error { return BadText("inner detail") }}
	start(t, group, Request{Query: &Query{Name: "q", Statement: statement}})
	if m := <-client.ended; m.Code != protocol.QueryFailed || strings.Contains(m.Message, "inner") {
		t.Errorf("got %+v", m)
	}
}

func FuzzRawParams(f *testing.F) {
	for _, raw := range []string{`{"a":1}`, `{"a":"x","b":2.5,"c":true}`, `{"a":null}`, `{"a":1,"a":1}`, `{`, `[]`, `{"a":12345678901234567890}`} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		query, err := NewRawQuery("q", nil, "select 1", raw)
		if err == nil {
			err = ValidateParams(query.Params)
			if err == nil {
				_, err = Bind(query.Params, raw, nil)
			} else if !strings.Contains(err.Error(), "twice") {
				t.Errorf("%q declares what is not valid: %v", raw, err)
			}
		}
		if err != nil {
			if e, ok := protocol.AsError(err); ok && e.Code != protocol.InvalidParams {
				t.Errorf("%q: %v", raw, err)
			}
		}
	})
}
