package dml

import (
	"errors"
	"strings"
	"testing"
)

var understood = map[string]Write{
	"INSERT INTO orders VALUES (1, 'a')":                                 {"insert", "orders"},
	"insert into Orders (id) values (1);":                                {"insert", "orders"},
	"Insert\n\tInto orders select * from other":                          {"insert", "orders"},
	"insert into orders default values":                                  {"insert", "orders"},
	"insert or replace into orders values (1)":                           {"insert", "orders"},
	"insert into public.orders values (1)":                               {"insert", "orders"},
	"insert into shop . public . orders(id) values (1)":                  {"insert", "orders"},
	`insert into "Orders" values (1)`:                                    {"insert", "Orders"},
	`insert into "public"."Orders" values (1)`:                           {"insert", "Orders"},
	"insert into `orders` values (1)":                                    {"insert", "orders"},
	`insert into "from" values (1)`:                                      {"insert", "from"},
	"insert into orders values ('a; delete from b')":                     {"insert", "orders"},
	"insert into orders values ('it''s; ''')":                            {"insert", "orders"},
	"insert into orders values ('a\\b')":                                 {"insert", "orders"},
	"insert into orders values ($1, $2)":                                 {"insert", "orders"},
	"insert into größe values (1)":                                       {"insert", "größe"},
	"-- a; b\ninsert into orders values (1)":                             {"insert", "orders"},
	"/* insert into x */ insert /* into y */ into orders (a) values (1)": {"insert", "orders"},
	"insert into orders values (1) -- done; really":                      {"insert", "orders"},
	"insert into orders values (1); ; -- done\n ; /* ; */":               {"insert", "orders"},
	"UPDATE orders SET a = 1 WHERE id = 2":                               {"update", "orders"},
	"update only orders set a = 1":                                       {"update", "orders"},
	"update orders o set a = 1":                                          {"update", "orders"},
	"update orders as o set a = 1":                                       {"update", "orders"},
	"update or ignore orders set a = 1":                                  {"update", "orders"},
	"DELETE FROM orders":                                                 {"delete", "orders"},
	"delete from orders;":                                                {"delete", "orders"},
	"delete from only public.orders where id = 1":                        {"delete", "orders"},
	"delete from orders using other where orders.id = other.id":          {"delete", "orders"},
	"delete from orders where name = '\"'":                               {"delete", "orders"},
}

var notUnderstood = map[string]error{
	"":                     errNotWrite,
	"select * from orders": errNotWrite,
	"with a as (select 1) insert into orders values (1)":      errNotWrite,
	"explain delete from orders":                              errNotWrite,
	"create table orders (id integer)":                        errNotWrite,
	"'insert' into orders":                                    errNotWrite,
	`"insert" into orders values (1)`:                         errNotWrite,
	"; insert into orders values (1)":                         errNotWrite,
	"insert into a values (1); insert into b values (2)":      errSeveral,
	"delete from a; select 1":                                 errSeveral,
	"delete from a; 'x'":                                      errSeveral,
	"insert into a values (1); nonsense":                      errSeveral,
	"insert orders values (1)":                                errTable,
	"insert into values (1)":                                  errTable,
	"insert into orders":                                      errTable,
	"insert into orders; delete from b":                       errTable,
	"insert into 'orders' values (1)":                         errTable,
	"insert into (orders) values (1)":                         errTable,
	"insert into a.":                                          errTable,
	"insert into a..b values (1)":                             errTable,
	"insert into orders@remote values (1)":                    errTable,
	"insert into orders-2 values (1)":                         errTable,
	`insert into "" values (1)`:                               errTable,
	`insert into "a/b" values (1)`:                            errTable,
	`insert into "a.b" values (1)`:                            errTable,
	`insert into "*" values (1)`:                              errTable,
	`insert into "a b" values (1)`:                            errTable,
	`insert into "a""b" values (1)`:                           errTable,
	`insert into "$sys" values (1)`:                           errTable,
	"insert into " + strings.Repeat("a", 129) + " values (1)": errTable,
	"update a, b set a.x = b.x":                               errTable,
	"update set x = 1":                                        errTable,
	"update orders":                                           errTable,
	"delete a, b from a join b":                               errTable,
	"delete orders":                                           errTable,
	"delete from a, b":                                        errTable,
	"insert into orders values ('a":                           errUnterminated,
	`insert into "orders values (1)`:                          errUnterminated,
	"insert into orders values (1) /* and":                    errUnterminated,
	"insert into orders values ('a\\'; delete from b --')":    errAmbiguous,
	"/* /* */ insert into a values (1) /* */ */":              errAmbiguous,
	"/*! delete from b; */ insert into a values (1)":          errAmbiguous,
	"insert into a values ($$; delete from b$$)":              errAmbiguous,
	"insert into a values ($x$;$x$)":                          errAmbiguous,
	"insert into [a] values (1)":                              errAmbiguous,
	"insert into a values (1) # ; delete from b":              errAmbiguous,
	"insert into a values (1--2)":                             errAmbiguous,
	"insert into a values (1) -- x\r; delete from b":          errAmbiguous,
	"insert into a values (1)\x00":                            errAmbiguous,
	"insert into a values ('\x00')":                           errAmbiguous,
	"insert into a values (\xff)":                             errAmbiguous,
}

func TestParse(t *testing.T) {
	for text, want := range understood {
		if got, err := Parse(text); got != want || err != nil {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range notUnderstood {
		if got, err := Parse(text); !errors.Is(err, want) || got != (Write{}) {
			t.Errorf("%s: %+v, %v, want %v", text, got, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for text := range understood {
		f.Add(text)
	}
	for text := range notUnderstood {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := Parse(text)
		if err != nil {
			return
		}
		switch w.Operation {
		case "insert", "update", "delete":
		default:
			t.Errorf("operation %q", w.Operation)
		}
		if w.Table == "" || strings.ContainsAny(w.Table, "./*{} \n\t\"'") {
			t.Errorf("table %q", w.Table)
		}
		for _, same := range []string{text + "\n;", "/* a */ -- b\n" + text, text + "\n-- c; d"} {
			if again, err := Parse(same); again != w || err != nil {
				t.Errorf("%q: %+v, %v, and alone %+v", same, again, err, w)
			}
		}
		// Whatever it ends in, a second statement is seen.
		if _, err := Parse(text + "\n; delete from other"); err == nil {
			t.Errorf("%q and another statement", text)
		}
	})
}
