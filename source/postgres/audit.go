package postgres

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// auditInterval is how often it is looked whether the publication still tells of every table that is listened to.
const auditInterval = 10 * time.Second

// audit looks for tables that have been taken out of the publication, and for a publication that was altered to tell of less: the server
// then sends nothing, which looks as if nothing happened. Queries that are watched run at each look as long as that is so.
func (r *reader) audit(ctx context.Context) {
	tick := time.NewTicker(r.auditInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			lost := 0
			for _, l := range r.all() {
				r.auditOne(ctx, l)
				if l.lost != "" {
					lost++
				}
			}
			r.counts.lost.Store(int64(lost))
		case <-ctx.Done():
			return
		}
	}
}

func (r *reader) all() []*listener {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*listener, 0, len(r.listeners))
	for l := range r.listeners {
		out = append(out, l)
	}
	return out
}

// auditOne looks for the table of one listener. A database that cannot be asked says nothing of it: the session tells of that.
func (r *reader) auditOne(ctx context.Context, l *listener) {
	if l.check == nil {
		return
	}
	asking, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	err := l.check(asking)
	if ctx.Err() != nil || err != nil && unreachable(err) {
		return
	}
	table := zap.Stringer("table", l.table)
	switch {
	case err != nil && l.lost != err.Error():
		l.lost = err.Error()
		l.log.Error("changes of a table are not told any more", table, zap.Error(err))
	case err == nil && l.lost != "":
		l.lost = ""
		l.log.Warn("changes of a table are told again; a feed has not published those made meanwhile", table)
	case err == nil:
		return
	}
	if l.changed != nil {
		r.tell(map[*listener]struct{}{l: {}})
	}
}
