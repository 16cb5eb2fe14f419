package live

import (
	"context"
	"sort"
	"sync"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// watcher is one watch of a Result.
type watcher struct {
	*Result
	owner Owner
	after int // runs that had begun when it came: where the result was not kept then, only a later one is new enough
	leave sync.Once
}

// Begin implements stream.Live.
func (w *watcher) Begin(ctx context.Context) (*stream.Version, stream.Failure, error) {
	w.mu.Lock()
	failures := w.failures.Number
	for {
		switch {
		case w.ended != nil:
			defer w.mu.Unlock()
			return nil, w.failures, w.ended
		case w.version != nil && w.done > w.after:
			defer w.mu.Unlock()
			return w.version, w.failures, nil
		case w.failures.Number > failures && w.done > w.after:
			defer w.mu.Unlock()
			return nil, w.failures, w.failures.Told
		}
		news := w.news
		w.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
			return nil, stream.Failure{}, context.Cause(ctx)
		}
		w.mu.Lock()
	}
}

// Newest implements stream.Live.
func (w *watcher) Newest() *stream.Version {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.version
}

// Changes implements stream.Live.
func (w *watcher) Changes(revision int64) ([]stream.Change, int64, bool) {
	w.mu.Lock()
	if w.version == nil || revision < w.logFrom || revision > w.version.Revision || revision%2 != 0 {
		w.mu.Unlock()
		return nil, 0, false
	}
	log, newest := w.log, w.version.Revision // what is in the log does not change
	w.mu.Unlock()
	from := sort.Search(len(log), func(i int) bool { return log[i].Revision > revision })
	return stream.Conflate(log[from:]), newest, true
}

// Wait implements stream.Live.
func (w *watcher) Wait(ctx context.Context, revision int64, failures int) (stream.Failure, error) {
	for {
		w.mu.Lock()
		failed, news := w.failures, w.news
		newer := w.version != nil && w.version.Revision > revision
		ended := w.ended
		w.mu.Unlock()
		switch {
		case newer || failed.Number != failures:
			return failed, nil
		case ended != nil:
			return failed, ended
		}
		select {
		case <-news:
		case <-ctx.Done():
			return stream.Failure{}, context.Cause(ctx)
		}
	}
}

// Leave implements stream.Live.
func (w *watcher) Leave() { w.leave.Do(func() { w.engine.leave(w.Result, w.owner) }) }

var _ stream.Live = (*watcher)(nil)
