package dml

import (
	"errors"
	"strings"
	"testing"
)

var selects = []string{
	"select 1", "SELECT * FROM orders WHERE id > @after ORDER BY id", " -- a\nselect /* ; */ 'a; b', \"c;d\" from t; ; -- end",
	"select 'it''s' from t", "select replace(a, 'x', 'y') from t", "select a from (select b as a from u) x", "select größe from t",
	"select 1 where a = $1", "select 'delete from x', \"update\" from t", "select a::date, -@n from t",
}

var noSelects = map[string]error{
	"":                                ErrNotSelect,
	";":                               ErrNotSelect,
	"delete from t":                   ErrNotSelect,
	"with a as (select 1) select 1":   ErrNotSelect,
	"explain select 1":                ErrNotSelect,
	"(select 1)":                      ErrNotSelect,
	`"select" 1`:                      ErrNotSelect,
	"select 1; select 2":              ErrSeveral,
	"select 1; delete from t":         ErrSeveral,
	"select 1;;;x":                    ErrSeveral,
	"select a into b from t":          ErrWrites,
	"select a INTO outfile '/tmp/x'":  ErrWrites,
	"select a from t for update":      ErrWrites,
	"select * from (delete from t) x": ErrWrites,
	"select 1 union drop table t":     ErrWrites,
	`select 'a\'; drop table t; --'`:  errAmbiguous,
	"select `a; delete from t; --`":   errAmbiguous,
	"select $$a; b$$":                 errAmbiguous,
	"select [a; delete from t]":       errAmbiguous,
	"select 1 # ; delete from t":      errAmbiguous,
	"select 1 --; delete from t":      errAmbiguous,
	"select 1 -- a\r; delete from t":  errAmbiguous,
	"select /*! ; */ 1":               errAmbiguous,
	"select /* /* */ ; */ 1":          errAmbiguous,
	"select q'[it's; ]' from t":       errAmbiguous,
	"select E'a'":                     errAmbiguous,
	"select\u00a01":                   errAmbiguous,
	"select 1 \x01":                   errAmbiguous,
	"select 1 \xff":                   errAmbiguous,
	"select 'a\x00'":                  errAmbiguous,
	"select 'a":                       errUnterminated,
	"select 1 /* a":                   errUnterminated,
}

func TestSelect(t *testing.T) {
	for _, text := range selects {
		if err := Select(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, want := range noSelects {
		if err := Select(text); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

func FuzzSelect(f *testing.F) {
	for _, text := range selects {
		f.Add(text)
	}
	for text := range noSelects {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if Select(text) != nil {
			return
		}
		if _, err := Parse(text); err == nil {
			t.Errorf("%q writes as well", text)
		}
		for _, same := range []string{text + "\n;", "/* a */ -- b\n" + text, text + "\n-- c; d"} {
			if err := Select(same); err != nil {
				t.Errorf("%q: %v, and alone it is one", same, err)
			}
		}
		// Whatever it ends in, a second statement is seen, and so is what lies behind its strings.
		for _, other := range []string{"\n; delete from other", "\n into x"} {
			if Select(text+other) == nil {
				t.Errorf("%q and %q", text, other)
			}
		}
		if strings.ContainsAny(text, "\x00`\\") {
			t.Errorf("%q is read differently", text)
		}
	})
}
