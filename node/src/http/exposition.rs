//! What a node has counted, under the names that dashboards and alerts rely on, in the OpenMetrics text format.
//!
//! No key is ever a label: keys come from strangers, and there are as many as they like.

use std::fmt;
use std::sync::Arc;

use leasehold_core::{NodeId, Spread, Standing, VoteCounts};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::cluster::name_of;
use crate::counters::Counters;
use crate::driver::Measured;
use crate::metrics::{Ending, Op, Times};
use crate::names;

/// What the text is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Microseconds in a second, thousandths in a whole.
const MICROS: f64 = 1e6;
const PARTS: f64 = 1e3;

/// All of it, as text.
pub(super) fn text(counters: &Arc<Counters>, measured: Measured) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("leasehold");
    registry.register_collector(Box::new(Page { counters: Arc::clone(counters), measured }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// What is known at one scrape.
#[derive(Debug)]
struct Page {
    counters: Arc<Counters>,
    measured: Measured,
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(&mut encoder);
        self.requests(&mut out)?;
        self.rounds(&mut out)?;
        self.state(&mut out)?;
        self.peers(&mut out)?;
        self.connections(&mut out)?;
        self.clocks(&mut out)
    }
}

impl Page {
    fn requests(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let metrics = &self.counters.metrics;
        out.counters("requests", "Requests of this node's clients, by how they ended", |each| {
            for op in Op::ALL {
                for ending in Ending::ALL {
                    let labels = [("op", op.label()), ("outcome", ending.label())];
                    each(&labels, metrics.requests(op, ending))?;
                }
            }
            Ok(())
        })?;
        let name = "request_duration";
        let help =
            "From when a request reached the node to its answer, where the cluster was asked";
        let unit = Some(&Unit::Seconds);
        let mut family = out.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for op in Op::ALL {
            let times: &Times = metrics.times(op);
            histogram(&mut family, ("op", op.label()), times.sum(), times.counts(), MICROS)?;
        }
        for (name, help, count) in [
            ("leases_granted", "Leases that clients of this node acquired", &metrics.granted),
            ("leases_extended", "Extensions by clients of this node", &metrics.extended),
            ("leases_released", "Releases by clients of this node", &metrics.released),
            (
                "leases_expired",
                "Leases that ended by themselves in this node's records",
                &metrics.expired,
            ),
        ] {
            out.counter(name, help, count.count())?;
        }
        out.counters("limits_reached", "Requests that a limit turned away", |each| {
            metrics.limits().try_for_each(|(limit, count)| each(&[("limit", limit)], count))
        })
    }

    fn rounds(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let tally = &self.measured.tally;
        let (name, help) = ("round_duration", "What a quorum of answers took this coordinator");
        let mut family =
            out.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (phase, spread) in
            [("prepare", &tally.prepare), ("accept", &tally.accept), ("query", &tally.query)]
        {
            histogram(&mut family, ("phase", phase), spread.sum(), spread.counts(), MICROS)?;
        }
        let (name, help) = ("renew_margin_ratio", "What was left of a lease when it was extended");
        let mut family = out.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let margin: &Spread = &tally.renew_margin;
        bare_histogram(&mut family, margin.sum(), margin.counts(), PARTS)?;
        let VoteCounts { promised, not_promised, full, accepted, not_accepted, read, joining } =
            tally.votes;
        out.counters("votes", "Answers of masters to this coordinator's rounds", |each| {
            for (result, count) in [
                ("promised", promised),
                ("not_promised", not_promised),
                ("full", full),
                ("accepted", accepted),
                ("not_accepted", not_accepted),
                ("read", read),
                ("joining", joining),
            ] {
                each(&[("result", result)], count)?;
            }
            Ok(())
        })
    }

    fn state(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let status = &self.measured.status;
        for (name, help, value) in [
            ("records", "Records of any kind in this node's memory", status.records),
            ("leases", "Live leases in this node's records", status.leases),
            ("operations", "Operations under way, with those that queue", status.operations),
            (
                "waiters",
                "Locks that queue here, and waits on records",
                status.queued + status.waiters,
            ),
            ("epoch", "The epoch of the configuration in force", status.epoch.0),
        ] {
            out.gauge(name, help, whole(value))?;
        }
        out.gauge(
            "uptime_seconds",
            "How long this node has been running",
            seconds(status.uptime.as_micros()),
        )?;
        out.gauges("node_state", "1 for the state that this node is in", |each| {
            STANDINGS.into_iter().try_for_each(|standing| {
                let current = if standing == status.standing { 1.0 } else { 0.0 };
                each(&[("state", names::of_standing(standing))], current)
            })
        })?;
        out.counters("forgotten", "Records that went, by reason", |each| {
            each(&[("how", "agreement")], status.forgotten_by_agreement)?;
            each(&[("how", "age")], status.forgotten_by_age)
        })?;
        out.gauges("build_info", "1, with what was built", |each| {
            each(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)
        })
    }

    fn peers(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let status = &self.measured.status;
        out.gauges("peer_up", "Whether the link to a peer is up", |each| {
            let others = status.members.iter().filter(|peer| peer.member.id != status.id);
            others
                .map(|peer| (peer.member.name.as_str(), peer.up))
                .try_for_each(|(peer, up)| each(&[("peer", peer)], if up { 1.0 } else { 0.0 }))
        })?;
        let name = |node: NodeId| name_of(status, node);
        out.gauges(
            "clock_rate_ppm",
            "How much faster a peer's clock runs, in parts per million",
            |each| {
                let rates =
                    status.heard.iter().filter_map(|(peer, heard)| Some((*peer, heard.clock_ppm?)));
                rates
                    .into_iter()
                    .try_for_each(|(peer, ppm)| each(&[("peer", &name(peer))], ppm.into()))
            },
        )?;
        let help = "Since when the oldest change that a replica has not acknowledged is on its way";
        out.gauges("replica_lag_seconds", help, |each| {
            status.lags.iter().try_for_each(|(replica, lag)| {
                each(&[("replica", &name(*replica))], seconds(lag.time.as_micros()))
            })
        })
    }

    fn connections(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let counters = &self.counters;
        for (name, help, count) in [
            (
                "frames_dropped",
                "Frames for a peer that its full queue did not take",
                &counters.frames_dropped,
            ),
            (
                "messages_dropped",
                "Messages of peers that the full queue did not take",
                &counters.messages_dropped,
            ),
            (
                "handshakes_refused",
                "Handshakes of peers that were refused, here or there",
                &counters.handshakes_refused,
            ),
            ("malformed", "Connections that sent bytes that make no sense", &counters.malformed),
            (
                "clients_dropped",
                "Clients that did not read their answers, or misbehaved",
                &counters.clients_dropped,
            ),
            (
                "connections_refused",
                "Connections that were turned away because there were too many",
                &counters.connections_refused,
            ),
            (
                "handshakes_delayed",
                "Times that a handshake waited, because strangers took their part of the processor",
                &counters.handshakes_delayed,
            ),
            ("clients_refused", "Callers that this node does not know", &counters.clients_refused),
            ("requests_denied", "Requests that lacked the right", &counters.requests_denied),
            (
                "requests_shed",
                "Requests refused at once because the node did not keep up",
                &counters.requests_shed,
            ),
            (
                "reloads_failed",
                "Changed certificates or tokens that cannot be used",
                &counters.reloads_failed,
            ),
            (
                "node_file_writes_failed",
                "Writes of the node file that failed",
                &counters.writes_failed,
            ),
            (
                "watches_lagged",
                "Watches that were cut off because their client was too slow",
                &counters.watches_lagged,
            ),
        ] {
            out.counter(name, help, count.count())?;
        }
        Ok(())
    }

    fn clocks(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let counters = &self.counters;
        let pauses = "Times that this process stood still for more than a second";
        out.counter("pauses", pauses, counters.pauses.count())?;
        let jumps = "Times that the wall clock was set by more than a second";
        out.counter("wall_clock_jumps", jumps, counters.wall_clock_jumps.count())?;
        let back = "Times that the monotonic clock went back, which it must not";
        out.counter("clock_went_back", back, counters.clock_went_back.count())
    }
}

/// All standings; what is not here has no label.
const STANDINGS: [Standing; 7] = [
    Standing::Unknown,
    Standing::Fresh,
    Standing::Joining,
    Standing::Active,
    Standing::Replica,
    Standing::Outside,
    Standing::Draining,
];

#[expect(clippy::cast_precision_loss, reason = "a float is what the format has")]
fn whole(count: u64) -> f64 {
    count as f64
}

fn seconds(micros: u64) -> f64 {
    whole(micros) / MICROS
}

/// Where metrics are written, one family after the other.
struct Out<'a, 'b>(&'a mut DescriptorEncoder<'b>);

type Each<'a, T> = &'a mut dyn FnMut(&[(&str, &str)], T) -> fmt::Result;

impl Out<'_, '_> {
    fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        encoder.encode_counter::<NoLabelSet, _, f64>(&count, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        all: impl FnOnce(Each<'_, u64>) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        all(&mut |labels, count| {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&count, None)
        })
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        all: impl FnOnce(Each<'_, f64>) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        all(&mut |labels, value| family.encode_family(&labels)?.encode_gauge(&value))
    }
}

fn histogram(
    family: &mut MetricEncoder<'_>,
    label: (&str, &str),
    sum: u64,
    counts: impl Iterator<Item = (u64, u64)>,
    scale: f64,
) -> fmt::Result {
    bare_histogram(&mut family.encode_family(&[label])?, sum, counts, scale)
}

fn bare_histogram(
    encoder: &mut MetricEncoder<'_>,
    sum: u64,
    counts: impl Iterator<Item = (u64, u64)>,
    scale: f64,
) -> fmt::Result {
    let bound = |bound: u64| if bound == u64::MAX { f64::MAX } else { whole(bound) / scale };
    let counts: Vec<(f64, u64)> = counts.map(|(most, count)| (bound(most), count)).collect();
    let all = counts.iter().map(|(_, count)| count).sum();
    encoder.encode_histogram::<NoLabelSet>(whole(sum) / scale, all, &counts, None)
}
