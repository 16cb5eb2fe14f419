package neuroquantumws

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/histogram"
	"github.com/neuroquantumdb/neuroquantum-ws/live"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// collector gives the metrics of all hubs. It holds none of them: it reads the hubs' own counters, which outlive a reload while every
// configuration has a registry of its own.
type collector struct{}

// registerMetrics registers the collector with the configuration's registry, once however many handlers it has.
func registerMetrics(ctx caddy.Context) error {
	var twice prometheus.AlreadyRegisteredError
	if err := ctx.GetMetricsRegistry().Register(collector{}); err != nil && !errors.As(err, &twice) {
		return fmt.Errorf("registering the metrics: %w", err)
	}
	return nil
}

// metric is the description of one, and what of it is told.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// described are all metrics, for Describe. It is complete, and constant, before anything runs.
var described []*prometheus.Desc

// describe makes a metric; the first of its labels is the hub.
func describe(kind prometheus.ValueType, name, help string, labels ...string) metric {
	desc := prometheus.NewDesc("caddy_neuroquantum_ws_"+name, help, append([]string{"hub"}, labels...), nil)
	described = append(described, desc)
	return metric{desc, kind}
}

func counter(name, help string, labels ...string) metric {
	return describe(prometheus.CounterValue, name, help, labels...)
}

func gauge(name, help string, labels ...string) metric {
	return describe(prometheus.GaugeValue, name, help, labels...)
}

// The metrics of connections.
var (
	mReady       = gauge("ready", "Whether the hub takes new clients.")
	mActive      = gauge("connections_active", "Connections that are open.")
	mLimit       = gauge("connections_limit", "Connections that may be open.")
	mNodes       = gauge("nodes", "Nodes of the hub that are alive, as this one sees it, itself included.")
	mParked      = gauge("connections_parked", "Open connections that say nothing and have no goroutine.")
	mConnections = counter("connections_total", "Connections made.")
	mClosed      = counter("connections_closed_total", "Connections ended, by close code; 1006 without a close frame.", "code")
	mRefused     = counter("connections_refused_total", "Clients that got no connection, by reason.", "reason")
	mSlow        = counter("connections_slow_total", "Connections closed with 4008, by cause: stalled (the socket took nothing), shed"+
		" (the hub held too much), unhealthy (too much was dropped).", "cause")
)

// The metrics of messages.
var (
	mReceived      = counter("messages_received_total", "Messages of clients, by type.", "type")
	mReceivedBytes = counter("bytes_received_total", "Bytes from clients after the upgrade.")
	mErrors        = counter("errors_total", "Requests of clients that were refused, by error code.", "code")
	mPublished     = counter("messages_published_total", "Messages published, by whomever.")
	mDuplicates    = counter("messages_duplicate_total", "Messages published again under the same key, which were not delivered.")
	mOffered       = counter("messages_offered_total", "Deliveries that connections were due.")
	mSent          = counter("messages_sent_total", "Messages written to clients, by kind: channel, reply, gap, stream, direct.", "kind")
	mSentBytes     = counter("bytes_sent_total", "Bytes written to clients after the upgrade.")
	mDropped       = counter("messages_dropped_total", "Deliveries dropped, by the policy of the queue and the reason.", "policy", "reason")
	mConflated     = counter("messages_conflated_total", "Deliveries that a newer message of the same channel replaced.")
	mGaps          = counter("gaps_total", "Gaps told to clients, by reason.", "reason")
	mRecoveries    = counter("recoveries_total", "Subscriptions with since, by whether nothing was missing.", "recovered")
	mBlocked       = counter("blocked_total", "Times that the policy block stopped feeding a connection until it had caught up.")
	mInFlight      = gauge("messages_in_flight", "Messages published that are still on their way to the queues.")
	mQueued        = gauge("queue_messages", "Messages waiting for clients.")
	mQueuedBytes   = gauge("queue_bytes", "Bytes waiting for clients.")
	mQueueLimit    = gauge("queue_bytes_limit", "Bytes that may wait for clients; beyond it the slowest are closed.")
	mLatency       = describe(prometheus.UntypedValue, "message_latency_seconds",
		"Time from publishing until a connection's socket had taken all that waited, of a sample of the messages.")
)

// The metrics of channels.
var (
	mChannels        = gauge("channels_total", "Channels with subscribers by name.")
	mSubscriptions   = gauge("subscriptions", "Subscriptions, to names and patterns.")
	mMembers         = gauge("presence_members", "Subscriptions that presence counts.")
	mHistoryChannels = gauge("history_channels", "Channels in which something is kept.")
	mHistoryBytes    = gauge("history_bytes", "Bytes of history kept, overhead included.")
	mEvents          = counter("notify_events_total", "Events of neuroquantum_ws_notify, by outcome: published, failed, dropped, invalid.",
		"outcome")
)

// The metrics of query streams. Their labels are names of the configuration.
var (
	mStreams       = gauge("active_streams", "Query streams that run, by state.", "source", "query", "state")
	mStarted       = counter("streams_started_total", "Query streams started.", "source", "query")
	mEnded         = counter("streams_ended_total", "Query streams ended, by outcome: completed, cancelled, failed, disconnected.", "source", "query", "outcome")
	mRows          = counter("streaming_rows_sent_total", "Rows sent in batches.", "source", "query")
	mBatches       = counter("streaming_batches_sent_total", "Batches sent.", "source", "query")
	mStreamBytes   = counter("streaming_bytes_sent_total", "Bytes of JSON of these batches.", "source", "query")
	mStalled       = counter("streaming_stalled_seconds_total", "Time that query streams waited for their clients.", "source", "query")
	mFirstRow      = describe(prometheus.UntypedValue, "streaming_first_row_seconds", "Time from a request to its first row.", "source")
	mCancelledIdle = describe(prometheus.UntypedValue, "streaming_cancel_seconds",
		"Time from stopping a running query until the database was done with it.", "source")
)

// The metrics of live queries.
var (
	mWatches     = gauge("watches", "Live queries that clients watch.")
	mResults     = gauge("live_results", "Different results that are kept true, or remembered for those who come again.")
	mResultBytes = gauge("live_result_bytes", "Bytes of the rows of these results.")
	mRuns        = counter("live_runs_total", "Times that a watched query has run.")
	mRunFailures = counter("live_failures_total", "Runs of watched queries that failed.")
	mChanges     = counter("live_changes_total", "Changes found between two runs; each is told to all who watch.")
)

// The metrics of feeds, and of the logs of changes that sources read.
var (
	mFeedMessages = counter("feed_messages_total", "Messages of feeds, by outcome: published, untold (a change that could not be told, or"+
		" not wholly).", "feed", "outcome")
	mReaderUp      = gauge("change_feed_up", "Whether the source reads its database's log of changes; 1 where nobody listens.", "source")
	mReaderLost    = gauge("change_feed_tables_lost", "Tables that somebody listens to and the database does not tell of.", "source")
	mReaderDelay   = gauge("change_feed_delay_seconds", "Time from the newest transaction's commit until the database sent it.", "source")
	mTransactions  = counter("change_feed_transactions_total", "Transactions read.", "source")
	mRowChanges    = counter("change_feed_changes_total", "Changes read of rows of tables that somebody listens to.", "source")
	mInterruptions = counter("change_feed_interruptions_total", "Times that reading ended, or could not begin.", "source")
)

// Describe implements prometheus.Collector.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range described {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (collector) Collect(out chan<- prometheus.Metric) {
	var all []*pooledHub
	hubs.Range(func(_, value any) bool {
		all = append(all, value.(*pooledHub))
		return true
	})
	slices.SortFunc(all, func(a, b *pooledHub) int { return cmp.Compare(a.hub.Name(), b.hub.Name()) })
	for _, p := range all {
		s := sink{out, p.hub.Name()}
		stats := p.hub.Stats()
		s.connections(p, stats)
		s.messages(p, stats)
		s.channels(p, stats)
		s.streams(p)
		s.live(p)
		s.feeds(p)
	}
}

// sink takes the metrics of one hub.
type sink struct {
	out chan<- prometheus.Metric
	hub string
}

func (s sink) tell(m metric, value float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(m.desc, m.kind, value, append([]string{s.hub}, labels...)...)
}

func (s sink) tellTimes(m metric, times histogram.Snapshot, labels ...string) {
	s.out <- prometheus.MustNewConstHistogram(m.desc, times.Count, times.Sum, times.Buckets, append([]string{s.hub}, labels...)...)
}

// tellEach tells a metric that has one label beside the hub.
func (s sink) tellEach(m metric, values map[string]uint64) {
	for label, n := range values {
		s.tell(m, float64(n), label)
	}
}

func (s sink) connections(p *pooledHub, stats hub.Stats) {
	ready := 0.0
	if p.ready() {
		ready = 1
	}
	s.tell(mReady, ready)
	s.tell(mNodes, float64(p.hub.Nodes()))
	s.tell(mActive, float64(stats.Connections))
	s.tell(mLimit, float64(p.hub.Settings().MaxConnections))
	s.tell(mParked, float64(stats.Parked))
	s.tell(mConnections, float64(stats.Accepted))
	s.tellEach(mClosed, stats.Closes)
	s.tellEach(mRefused, stats.Refusals)
	s.tell(mSlow, float64(stats.TooSlow), "stalled")
	s.tell(mSlow, float64(stats.Shed), "shed")
	s.tell(mSlow, float64(stats.Unhealthy), "unhealthy")
}

func (s sink) messages(p *pooledHub, stats hub.Stats) {
	s.tellEach(mReceived, p.env.Counters.Requests())
	s.tell(mReceivedBytes, float64(stats.ReceivedBytes))
	refused := p.env.Counters.Errors()
	refused[string(protocol.LimitExceeded)] += stats.Oversubscribed
	refused[string(protocol.HistoryUnavailable)] += stats.Unreadable
	s.tellEach(mErrors, refused)
	s.tell(mPublished, float64(stats.Published))
	s.tell(mDuplicates, float64(stats.Duplicates))
	s.tell(mOffered, float64(stats.Offered))
	s.tellEach(mSent, stats.SentKinds)
	s.tell(mSentBytes, float64(stats.SentBytes))
	for _, loss := range stats.Losses {
		s.tell(mDropped, float64(loss.Count), loss.Policy, loss.Reason)
	}
	s.tell(mConflated, float64(stats.Conflated))
	s.tellEach(mGaps, stats.Gaps)
	s.tell(mRecoveries, float64(stats.Recovered), "true")
	s.tell(mRecoveries, float64(stats.Unrecovered), "false")
	s.tell(mBlocked, float64(stats.CaughtUp))
	s.tell(mInFlight, float64(stats.MessagesInFlight))
	s.tell(mQueued, float64(stats.Queued))
	s.tell(mQueuedBytes, float64(stats.QueuedBytes))
	s.tell(mQueueLimit, float64(p.hub.Settings().MaxQueued))
	s.tellTimes(mLatency, p.hub.Latency())
}

func (s sink) channels(p *pooledHub, stats hub.Stats) {
	s.tell(mChannels, float64(stats.Channels))
	s.tell(mSubscriptions, float64(stats.Subscriptions))
	s.tell(mMembers, float64(stats.Members))
	s.tell(mHistoryChannels, float64(stats.HistoryChannels))
	s.tell(mHistoryBytes, float64(stats.HistoryBytes))
	counts := &p.events.counts
	s.tell(mEvents, float64(counts.published.Load()), "published")
	s.tell(mEvents, float64(counts.failed.Load()), "failed")
	s.tell(mEvents, float64(counts.dropped.Load()), "dropped")
	s.tell(mEvents, float64(counts.invalid.Load()), "invalid")
}

func (s sink) streams(p *pooledHub) {
	for _, k := range p.env.Streams.Kinds() {
		s.kind(k)
	}
	for _, times := range p.env.Streams.Sources() {
		s.tellTimes(mFirstRow, times.FirstRow, times.Source)
		s.tellTimes(mCancelledIdle, times.Idle, times.Source)
	}
}

func (s sink) live(p *pooledHub) {
	stats := p.env.Live.Stats()
	s.tell(mWatches, float64(p.env.Streams.Watches()))
	s.tell(mResults, float64(stats.Results))
	s.tell(mResultBytes, float64(stats.Bytes))
	s.tell(mRuns, float64(stats.Runs))
	s.tell(mRunFailures, float64(stats.Failures))
	s.tell(mChanges, float64(stats.Changes))
}

func (s sink) feeds(p *pooledHub) {
	p.feeds.counts.Range(func(name, counts any) bool {
		c := counts.(*live.Counts)
		s.tell(mFeedMessages, float64(c.Published.Load()), name.(string), "published")
		s.tell(mFeedMessages, float64(c.Untold.Load()), name.(string), "untold")
		return true
	})
	readers := p.readers.Load()
	if readers == nil {
		return
	}
	for name, reader := range *readers {
		stats, ok := reader.ChangeFeed()
		if !ok {
			continue
		}
		up := 0.0
		if stats.Up || !stats.Wanted {
			up = 1
		}
		s.tell(mReaderUp, up, name)
		s.tell(mReaderLost, float64(stats.Lost), name)
		s.tell(mReaderDelay, stats.Delay.Seconds(), name)
		s.tell(mTransactions, float64(stats.Transactions), name)
		s.tell(mRowChanges, float64(stats.Changes), name)
		s.tell(mInterruptions, float64(stats.Interruptions), name)
	}
}

func (s sink) kind(k stream.KindTotals) {
	s.tell(mStreams, float64(k.Initializing), k.Source, k.Query, "initializing")
	s.tell(mStreams, float64(k.Streaming), k.Source, k.Query, "streaming")
	s.tell(mStreams, float64(k.Paused), k.Source, k.Query, "paused")
	s.tell(mStarted, float64(k.Started), k.Source, k.Query)
	s.tell(mEnded, float64(k.Completed), k.Source, k.Query, "completed")
	s.tell(mEnded, float64(k.Cancelled), k.Source, k.Query, "cancelled")
	s.tell(mEnded, float64(k.Failed), k.Source, k.Query, "failed")
	s.tell(mEnded, float64(k.Gone), k.Source, k.Query, "disconnected")
	s.tell(mRows, float64(k.Rows), k.Source, k.Query)
	s.tell(mBatches, float64(k.Batches), k.Source, k.Query)
	s.tell(mStreamBytes, float64(k.Bytes), k.Source, k.Query)
	s.tell(mStalled, k.Stalled.Seconds(), k.Source, k.Query)
}

var _ prometheus.Collector = collector{}
