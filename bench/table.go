package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// table holds what was measured: for every figure of every subject of a case a value in each round.
type table struct {
	rows []*row
}

type row struct {
	bench        string
	subject      subject
	figure, unit string
	rounds       map[int]float64
}

// add adds a subject's values of a round. All subjects of the case have their place at once, so that the table does not depend on
// which was measured first.
func (t *table) add(bench string, subjects []subject, s subject, round int, values []value) {
	for _, v := range values {
		if t.find(bench, s.name, v.figure) == nil {
			for _, each := range subjects {
				t.rows = append(t.rows, &row{bench: bench, subject: each, figure: v.figure, unit: v.unit, rounds: make(map[int]float64)})
			}
		}
		t.find(bench, s.name, v.figure).rounds[round] = v.amount
	}
}

func (t *table) find(bench, subject, figure string) *row {
	for _, r := range t.rows {
		if r.bench == bench && r.subject.name == subject && r.figure == figure {
			return r
		}
	}
	return nil
}

// write writes the table. A ratio is made within a round; both figure and ratio are medians over the rounds, and the range.
func (t *table) write(w io.Writer) error {
	aligned := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(aligned, "case\tfigure\tserver\tmedian\t(min..max)\tunit\tratio\t(min..max)\tto")
	for _, r := range t.rows {
		fmt.Fprintf(aligned, "%s\t%s\t%s\t%s\t%s\t", r.bench, r.figure, r.subject.name, spread(r.values()), r.unit)
		if ratios := t.ratios(r); len(ratios) > 0 {
			fmt.Fprintf(aligned, "%s\t%s\n", spread(ratios), r.subject.base)
		} else {
			fmt.Fprintln(aligned, "\t\t")
		}
	}
	return aligned.Flush()
}

func (r *row) values() []float64 {
	var all []float64
	for _, v := range r.rounds {
		all = append(all, v)
	}
	return all
}

// ratios are those to the base's figure in the same round.
func (t *table) ratios(r *row) []float64 {
	base := t.find(r.bench, r.subject.base, r.figure)
	if base == nil {
		return nil
	}
	var all []float64
	for round, v := range r.rounds {
		if b, measured := base.rounds[round]; measured && b > 0 {
			all = append(all, v/b)
		}
	}
	return all
}

// spread writes the median, and the range of all, as two cells.
func spread(all []float64) string {
	if len(all) == 0 {
		return "-\t"
	}
	slices.Sort(all)
	median := (all[(len(all)-1)/2] + all[len(all)/2]) / 2
	return fmt.Sprintf("%s\t(%s..%s)", short(median), short(all[0]), short(all[len(all)-1]))
}

// short writes a number with three digits that count.
func short(v float64) string {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return strconv.FormatFloat(v, 'f', min(max(digits, 0), 6), 64)
}

// quantile is the value below which a share q of all lies.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[max(0, int(math.Ceil(q*float64(len(all))))-1)]
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }
