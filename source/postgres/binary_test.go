package postgres

import (
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// What comes in the binary format looks as what comes as text, which is how elements of arrays come.
func TestBinaryAndTextAgree(t *testing.T) {
	s := provision(t, &Source{})
	for expression, rows := range map[string]string{
		"((random() - 0.5) * 65000)::int2":                     "1000",
		"((random() - 0.5) * 4000000000)::int4":                "1000",
		"((random() - 0.5) * 1.8e19)::int8":                    "1000",
		"(random() - 0.5)::float8 * 10.0 ^ (i - 40)":           "80",
		"(random() - 0.5)::float4 * (10.0 ^ (i - 30))::float4": "60",
		"random() < 0.5": "10",
		// Every month from before the first year that has four digits to behind the last, and days around the turn of the eras.
		"timestamp '4713-01-01 BC' + i * interval '5 months 1 day 01:02:03.000456'":     "40000",
		"timestamptz '0003-01-01 BC' + i * interval '11:59:59.999999'":                  "5000",
		"timestamptz '9999-12-30 00:00:00Z' + i * interval '01:00:00.1'":                "100",
		"timestamptz '2000-01-01 00:00:00Z' - 50 * interval '1 s' + i * interval '1 s'": "100",
		"timestamptz '1970-01-01 00:00:00Z' + i * interval '0.00001'":                   "1000",
		"timestamp '290000-01-01' + i * interval '1 month'":                             "100",
	} {
		for _, quoted := range []bool{false, true} {
			st := mustPrepare(t, s, "select v, array[v] from (select "+expression+" as v from generate_series(1, "+rows+") i) as x")
			r := mustQuery(t, st, stream.Run{Int64Strings: quoted})
			n := 0
			for ; r.Next(); n++ {
				binary, text := string(r.AppendValue(nil, 0)), string(r.AppendValue(nil, 1))
				if "["+binary+"]" != text {
					t.Errorf("%s: %s, as text %s", expression, binary, text)
					break
				}
			}
			if err := r.Err(); err != nil || n == 0 {
				t.Errorf("%s: %d rows, %v", expression, n, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
