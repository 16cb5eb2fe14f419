package postgres

import (
	"sync/atomic"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// feedCounts say how a change feed goes.
type feedCounts struct {
	up            atomic.Bool
	transactions  atomic.Uint64
	changes       atomic.Uint64
	interruptions atomic.Uint64
	delay         atomic.Int64 // microseconds
	lost          atomic.Int64
}

// ChangeFeed implements stream.FeedReader.
func (s *Source) ChangeFeed() (stats stream.FeedStats, ok bool) {
	if s.reader == nil {
		return stats, false
	}
	s.reader.mu.Lock()
	wanted := s.reader.stop != nil
	s.reader.mu.Unlock()
	c := &s.reader.counts
	return stream.FeedStats{
		Wanted: wanted, Up: c.up.Load(), Transactions: c.transactions.Load(), Changes: c.changes.Load(),
		Interruptions: c.interruptions.Load(), Delay: time.Duration(c.delay.Load()) * time.Microsecond, Lost: int(c.lost.Load()),
	}, true
}

var _ stream.FeedReader = (*Source)(nil)
