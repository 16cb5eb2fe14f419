package postgres

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// formatOf is the format in which a column is asked for: binary where the database takes longer to write the text than we do.
func formatOf(oid uint32) int16 {
	switch oid {
	case pgtype.ByteaOID, pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.Float4OID, pgtype.Float8OID,
		pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.BoolOID:
		return pgtype.BinaryFormatCode
	default:
		return pgtype.TextFormatCode
	}
}

// appendBinary appends a value in the database's binary format as JSON.
func (r *rows) appendBinary(dst, raw []byte, as encoding) []byte {
	switch {
	case as == encBytea:
		return stream.AppendBinary(dst, raw)
	case as == encBool && len(raw) == 1:
		return strconv.AppendBool(dst, raw[0] != 0)
	case as == encNumber && len(raw) == 2:
		return strconv.AppendInt(dst, int64(int16(binary.BigEndian.Uint16(raw))), 10)
	case as == encNumber && len(raw) == 4:
		return strconv.AppendInt(dst, int64(int32(binary.BigEndian.Uint32(raw))), 10)
	case as == encFloat4 && len(raw) == 4:
		return stream.AppendFloat(dst, float64(math.Float32frombits(binary.BigEndian.Uint32(raw))), 32)
	case as == encFloat8 && len(raw) == 8:
		return stream.AppendFloat(dst, math.Float64frombits(binary.BigEndian.Uint64(raw)), 64)
	case as == encInt64 && len(raw) == 8:
		n := int64(binary.BigEndian.Uint64(raw))
		if r.quoted {
			return append(strconv.AppendInt(append(dst, '"'), n, 10), '"')
		}
		return strconv.AppendInt(dst, n, 10)
	case (as == encTimestamptz || as == encTimestamp) && len(raw) == 8:
		return r.appendMicros(dst, int64(binary.BigEndian.Uint64(raw)), as)
	default:
		return append(dst, "null"...) // no server sends this
	}
}

const (
	microsPerDay = 24 * 60 * 60 * 1_000_000
	// epochDays is the database's first day, 2000-01-01, in days since 1970-01-01.
	epochDays = 10_957
	// The years 1 to 9999, in days since 1970-01-01.
	firstDay, lastDay = -719_162, 2_932_896
)

// appendMicros appends a time in microseconds since 2000. The day is written once for all rows in a row of the same day.
func (r *rows) appendMicros(dst []byte, micros int64, as encoding) []byte {
	if micros == math.MaxInt64 || micros == math.MinInt64 {
		return append(dst, "null"...)
	}
	day, rest := micros/microsPerDay, micros%microsPerDay
	if rest < 0 {
		day, rest = day-1, rest+microsPerDay
	}
	if day += epochDays; day < firstDay || day > lastDay {
		return appendFarTime(dst, day, rest, as)
	}
	if day != r.day || len(r.dayText) == 0 {
		r.day = day
		r.dayText = time.Unix(day*86_400, 0).UTC().AppendFormat(r.dayText[:0], `"2006-01-02T`)
	}
	dst = append(dst, r.dayText...)
	return append(appendClock(dst, rest), 'Z', '"')
}

// appendClock appends a time of day; of a fraction of a second as many digits as it needs.
func appendClock(dst []byte, micros int64) []byte {
	seconds, fraction := micros/1_000_000, micros%1_000_000
	h, m, s := seconds/3600, seconds/60%60, seconds%60
	dst = append(dst, byte('0'+h/10), byte('0'+h%10), ':', byte('0'+m/10), byte('0'+m%10), ':', byte('0'+s/10), byte('0'+s%10))
	if fraction == 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := int64(100_000); fraction > 0; unit /= 10 {
		dst = append(dst, byte('0'+fraction/unit))
		fraction %= unit
	}
	return dst
}

// appendFarTime appends a time that RFC 3339 cannot say as the database would, in UTC.
func appendFarTime(dst []byte, day, micros int64, as encoding) []byte {
	t := time.Unix(day*86_400, 0).UTC()
	year := t.Year()
	if year < 1 {
		year = 1 - year
	}
	text := strconv.AppendInt(nil, int64(year), 10)
	for len(text) < 4 {
		text = append([]byte{'0'}, text...)
	}
	text = appendClock(t.AppendFormat(text, "-01-02 "), micros)
	if as == encTimestamptz {
		text = append(text, "+00"...)
	}
	if t.Year() < 1 {
		text = append(text, " BC"...)
	}
	return stream.AppendText(dst, text)
}
