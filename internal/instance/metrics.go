package instance

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

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

// RegisterMetrics registers the collector with the configuration's registry, once however many handlers it has.
func RegisterMetrics(ctx caddy.Context) error {
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
	mRevoked         = counter("subscriptions_revoked_total", "Subscriptions ended because they are no longer allowed.")
	mVisited         = counter("patterns_visited_total", "Patterns, and parts of them, looked at to find the subscribers of messages.")
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
	var all []*Instance
	instances.Range(func(_, value any) bool {
		all = append(all, value.(*Instance))
		return true
	})
	slices.SortFunc(all, func(a, b *Instance) int { return cmp.Compare(a.Hub.Name(), b.Hub.Name()) })
	for _, p := range all {
		s := metricWriter{out, p.Hub.Name()}
		stats := p.Hub.Stats()
		s.connections(p, stats)
		s.messages(p, stats)
		s.channels(p, stats)
		s.streams(p)
		s.live(p)
		s.feeds(p)
	}
}

// metricWriter takes the metrics of one hub.
type metricWriter struct {
	out chan<- prometheus.Metric
	hub string
}

func (s metricWriter) write(m metric, value float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(m.desc, m.kind, value, append([]string{s.hub}, labels...)...)
}

func (s metricWriter) writeHistogram(m metric, times histogram.Snapshot, labels ...string) {
	s.out <- prometheus.MustNewConstHistogram(m.desc, times.Count, times.Sum, times.Buckets, append([]string{s.hub}, labels...)...)
}

// writeEach tells a metric that has one label beside the hub.
func (s metricWriter) writeEach(m metric, values map[string]uint64) {
	for label, n := range values {
		s.write(m, float64(n), label)
	}
}

func (s metricWriter) connections(p *Instance, stats hub.Stats) {
	ready := 0.0
	if p.Ready() {
		ready = 1
	}
	s.write(mReady, ready)
	s.write(mNodes, float64(p.Hub.Nodes()))
	s.write(mActive, float64(stats.Connections))
	s.write(mLimit, float64(p.Hub.Settings().MaxConnections))
	s.write(mParked, float64(stats.Parked))
	s.write(mConnections, float64(stats.Accepted))
	s.writeEach(mClosed, stats.Closes)
	s.writeEach(mRefused, stats.Refusals)
	s.write(mSlow, float64(stats.TooSlow), "stalled")
	s.write(mSlow, float64(stats.Shed), "shed")
	s.write(mSlow, float64(stats.Unhealthy), "unhealthy")
}

func (s metricWriter) messages(p *Instance, stats hub.Stats) {
	s.writeEach(mReceived, p.Env.Counters.Requests())
	s.write(mReceivedBytes, float64(stats.ReceivedBytes))
	refused := p.Env.Counters.Errors()
	refused[string(protocol.LimitExceeded)] += stats.Oversubscribed
	refused[string(protocol.HistoryUnavailable)] += stats.Unreadable
	s.writeEach(mErrors, refused)
	s.write(mPublished, float64(stats.Published))
	s.write(mDuplicates, float64(stats.Duplicates))
	s.write(mOffered, float64(stats.Offered))
	s.writeEach(mSent, stats.SentKinds)
	s.write(mSentBytes, float64(stats.SentBytes))
	for _, loss := range stats.Losses {
		s.write(mDropped, float64(loss.Count), loss.Policy, loss.Reason)
	}
	s.write(mConflated, float64(stats.Conflated))
	s.writeEach(mGaps, stats.Gaps)
	s.write(mRecoveries, float64(stats.Recovered), "true")
	s.write(mRecoveries, float64(stats.Unrecovered), "false")
	s.write(mBlocked, float64(stats.CaughtUp))
	s.write(mInFlight, float64(stats.MessagesInFlight))
	s.write(mQueued, float64(stats.Queued))
	s.write(mQueuedBytes, float64(stats.QueuedBytes))
	s.write(mQueueLimit, float64(p.Hub.Settings().MaxQueued))
	s.writeHistogram(mLatency, p.Hub.Latency())
}

func (s metricWriter) channels(p *Instance, stats hub.Stats) {
	s.write(mChannels, float64(stats.Channels))
	s.write(mSubscriptions, float64(stats.Subscriptions))
	s.write(mRevoked, float64(stats.Revoked))
	s.write(mVisited, float64(stats.Visited))
	s.write(mMembers, float64(stats.Members))
	s.write(mHistoryChannels, float64(stats.HistoryChannels))
	s.write(mHistoryBytes, float64(stats.HistoryBytes))
	counts := &p.events.counts
	s.write(mEvents, float64(counts.published.Load()), "published")
	s.write(mEvents, float64(counts.failed.Load()), "failed")
	s.write(mEvents, float64(counts.dropped.Load()), "dropped")
	s.write(mEvents, float64(counts.invalid.Load()), "invalid")
}

func (s metricWriter) streams(p *Instance) {
	for _, k := range p.Env.Streams.Kinds() {
		s.kind(k)
	}
	for _, times := range p.Env.Streams.Sources() {
		s.writeHistogram(mFirstRow, times.FirstRow, times.Source)
		s.writeHistogram(mCancelledIdle, times.Idle, times.Source)
	}
}

func (s metricWriter) live(p *Instance) {
	stats := p.Env.Live.Stats()
	s.write(mWatches, float64(p.Env.Streams.Watches()))
	s.write(mResults, float64(stats.Results))
	s.write(mResultBytes, float64(stats.Bytes))
	s.write(mRuns, float64(stats.Runs))
	s.write(mRunFailures, float64(stats.Failures))
	s.write(mChanges, float64(stats.Changes))
}

func (s metricWriter) feeds(p *Instance) {
	p.feeds.counts.Range(func(name, counts any) bool {
		c := counts.(*live.Counts)
		s.write(mFeedMessages, float64(c.Published.Load()), name.(string), "published")
		s.write(mFeedMessages, float64(c.Untold.Load()), name.(string), "untold")
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
		s.write(mReaderUp, up, name)
		s.write(mReaderLost, float64(stats.Lost), name)
		s.write(mReaderDelay, stats.Delay.Seconds(), name)
		s.write(mTransactions, float64(stats.Transactions), name)
		s.write(mRowChanges, float64(stats.Changes), name)
		s.write(mInterruptions, float64(stats.Interruptions), name)
	}
}

func (s metricWriter) kind(k stream.KindTotals) {
	s.write(mStreams, float64(k.Initializing), k.Source, k.Query, "initializing")
	s.write(mStreams, float64(k.Streaming), k.Source, k.Query, "streaming")
	s.write(mStreams, float64(k.Paused), k.Source, k.Query, "paused")
	s.write(mStarted, float64(k.Started), k.Source, k.Query)
	s.write(mEnded, float64(k.Completed), k.Source, k.Query, "completed")
	s.write(mEnded, float64(k.Cancelled), k.Source, k.Query, "cancelled")
	s.write(mEnded, float64(k.Failed), k.Source, k.Query, "failed")
	s.write(mEnded, float64(k.Gone), k.Source, k.Query, "disconnected")
	s.write(mRows, float64(k.Rows), k.Source, k.Query)
	s.write(mBatches, float64(k.Batches), k.Source, k.Query)
	s.write(mStreamBytes, float64(k.Bytes), k.Source, k.Query)
	s.write(mStalled, k.Stalled.Seconds(), k.Source, k.Query)
}

var _ prometheus.Collector = collector{}

// Metrics returns the names of all metrics with their labels, so that the documents that name them can be checked.
func Metrics() map[string][]string {
	all := make(map[string][]string)
	for _, desc := range described {
		var name, labels string
		text := strings.NewReplacer("{", " ", "}", " ").Replace(desc.String())
		if at := strings.Index(text, `fqName: "`); at >= 0 {
			name, _, _ = strings.Cut(text[at+len(`fqName: "`):], `"`)
		}
		if at := strings.Index(text, "variableLabels:"); at >= 0 {
			labels = strings.TrimSpace(text[at+len("variableLabels:"):])
		}
		all[name] = strings.Split(labels, ",")
	}
	return all
}
