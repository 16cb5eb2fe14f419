package cluster

import (
	"context"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Lead implements hub.Peers. Who makes the task's key leads, as long as it renews it; the bucket lets go of a key that is not renewed.
func (p *Peers) Lead(ctx context.Context, task string, run func(ctx context.Context)) {
	select {
	case <-p.ready:
	case <-ctx.Done():
		return
	case <-p.life.Done():
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	key := leadPrefix + base64.RawURLEncoding.EncodeToString([]byte(task))
	for ctx.Err() == nil {
		asked := time.Now()
		asking, stop := context.WithTimeout(ctx, p.renewal())
		revision, err := p.lease.Create(asking, key, []byte(p.options.Node))
		stop()
		if err == nil {
			p.options.Log.Debug("this node leads", zap.String("task", task))
			p.lead(ctx, key, revision, asked, run)
		}
		p.wait(ctx, p.options.Lease/10+rand.N(p.options.Lease/5))
	}
}

// lead runs while the key is this node's.
func (p *Peers) lead(ctx context.Context, key string, revision uint64, renewed time.Time, run func(ctx context.Context)) {
	leading, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(leading)
	}()
	for p.wait(leading, p.renewal()) {
		asked := time.Now()
		asking, cancel := context.WithTimeout(leading, p.renewal())
		next, err := p.lease.Update(asking, key, []byte(p.options.Node), revision)
		cancel()
		if err == nil {
			revision, renewed = next, asked
			continue
		}
		// It ends before another can begin.
		if lost := errors.Is(err, jetstream.ErrKeyRevisionMismatch); lost || time.Since(renewed)+p.renewal() > p.options.Lease*7/10 {
			if leading.Err() == nil {
				p.options.Log.Warn("this node leads no more", zap.Bool("lost", lost), zap.Error(err))
			}
			break
		}
	}
	stop()
	<-done
	letting, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	// Where that fails the key goes with its time.
	_ = p.lease.Delete(letting, key, jetstream.LastRevision(revision))
}
