package live

import (
	"context"
	"fmt"
	"testing"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// What a run of a result of 10,000 rows costs beside the database, where ten of them have changed.
func BenchmarkUpdate(b *testing.B) {
	data := newTable(10_000)
	watch := Watch{Key: []string{"id"}}.WithDefaults()
	r := &Result{engine: NewEngine(zap.NewNop()), news: make(chan struct{}), watch: watch}
	k := &keeper{r, &stream.Query{Name: "q", Statement: data}, watch}
	b.ReportAllocs()
	for i := range b.N {
		b.StopTimer()
		for id := range 10 {
			data.rows[id*1000] = fmt.Sprint(i)
		}
		b.StartTimer()
		if err := k.update(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
