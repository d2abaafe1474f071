//! How fast the peers' clocks run, measured against this node's own.
//!
//! All timing rests on the bound on drift (protocol, section 1), so it is watched. Every heartbeat carries how long
//! its sender has been running by its own clock. A beat is a *sample*: that, and this node's clock when it came. Between
//! two samples the peer's clock advanced by so much and this one by so much, and were it not for the network the
//! difference would be drift.
//!
//! The network delays every beat by another time. A single pair of samples a minute apart would be wrong by the
//! difference of their delays over a minute: 30 ms look like 500 ppm. But delay only ever makes a sample late, never
//! early, so of the samples of one *stretch* of a few seconds the one that came with the least delay is kept, and
//! only those are compared, over at least [`WINDOW`]. What remains is how much the least delays differ, a
//! millisecond or so: some 20 ppm. A route that becomes longer for good by 30 ms still looks like 500 ppm, for a minute.
//!
//! A pause of this node only makes beats late, and the last one that waited in the pipe is fresh. A peer that starts
//! anew, or is silent for the window, is measured anew.
//!
//! Invariant: the kept samples of a peer are of one boot, in order, one for each stretch.

use alloc::collections::{BTreeMap, VecDeque};

use crate::effect::Event;
use crate::members::NodeId;
use crate::time::{Drift, Instant, Span};

/// Rates are measured over at least this long, and not much longer.
const WINDOW: Span = Span::from_secs(60);
/// Of the samples of so long a time, one is kept: about ten.
const STRETCH: Span = Span::from_secs(10);

/// A heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sample {
    /// This node's clock when it came.
    here: Instant,
    /// How long the peer was running when it was sent, by its own clock.
    there: Span,
}

impl Sample {
    /// How far the peer's count is ahead of this clock: the greater, the less this sample was delayed.
    fn lead(self) -> i128 {
        i128::from(self.there.as_micros()) - i128::from(self.here.as_micros())
    }

    /// Whether it came with less delay than `earlier`, if the peer's clock runs faster by so much.
    fn is_fresher(self, earlier: Self, ppm: i32) -> bool {
        let here = i128::from(self.here.since(earlier.here).as_micros());
        (self.lead() - earlier.lead()) * 1_000_000 > here * i128::from(ppm)
    }

    /// How much faster than here it ran there since `earlier`, in parts per million.
    fn rate_since(self, earlier: Self) -> i32 {
        let here = i128::from(self.here.since(earlier.here).as_micros()).max(1);
        let ppm = (self.lead() - earlier.lead()) * 1_000_000 / here;
        i32::try_from(ppm).unwrap_or(if ppm < 0 { i32::MIN } else { i32::MAX })
    }
}

/// What is known of one peer's clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Track {
    boot: u64,
    /// The least delayed sample of each stretch; the last is that of the present one.
    kept: VecDeque<Sample>,
    /// When the present stretch began.
    began: Instant,
    heard_at: Instant,
    ppm: Option<i32>,
    /// Whether it was last said to be too far off.
    off: bool,
}

impl Track {
    fn new(boot: u64, first: Sample, off: bool) -> Self {
        let kept = VecDeque::from([first]);
        Self { boot, kept, began: first.here, heard_at: first.here, ppm: None, off }
    }

    /// Takes a sample. Whether a stretch ended and with it a new rate is known.
    fn take(&mut self, sample: Sample) -> bool {
        self.heard_at = sample.here;
        if sample.here < self.began.after(STRETCH) {
            if let Some(best) = self.kept.back_mut()
                && sample.is_fresher(*best, self.ppm.unwrap_or(0))
            {
                *best = sample;
            }
            return false;
        }
        let measured = self.measure();
        self.began = sample.here;
        self.kept.push_back(sample);
        measured
    }

    /// Compares the last stretch with the youngest that is a window older.
    fn measure(&mut self) -> bool {
        let Some(&last) = self.kept.back() else { return false };
        let old_enough = |sample: &Sample| last.here.since(sample.here) >= WINDOW;
        while self.kept.get(1).is_some_and(old_enough) {
            self.kept.pop_front();
        }
        let first = self.kept.front().filter(|first| old_enough(first));
        self.ppm = first.map(|&first| last.rate_since(first)).or(self.ppm);
        first.is_some()
    }
}

/// The peers' clocks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rates {
    /// Half of the bound on drift: who is further off than that is reported while the bound still holds.
    limit: u32,
    tracks: BTreeMap<NodeId, Track>,
}

impl Rates {
    pub(crate) const fn new(bound: Drift) -> Self {
        Self { limit: bound.ppm() / 2, tracks: BTreeMap::new() }
    }

    /// A heartbeat came. What is to be told of the peer's clock, if that is news.
    pub(crate) fn heard(
        &mut self,
        now: Instant,
        peer: NodeId,
        boot: u64,
        elapsed: Span,
    ) -> Option<Event> {
        let sample = Sample { here: now, there: elapsed };
        let Some(track) = self.tracks.get_mut(&peer) else {
            self.tracks.insert(peer, Track::new(boot, sample, false));
            return None;
        };
        if track.boot != boot || now.since(track.heard_at) >= WINDOW {
            *track = Track::new(boot, sample, track.off);
            return None;
        }
        if !track.take(sample) {
            return None;
        }
        let ppm = track.ppm?;
        // It is back only when it is clearly so, lest one at the limit be told of for ever.
        let limit = if track.off { self.limit / 5 * 4 } else { self.limit };
        let off = ppm.unsigned_abs() > limit;
        let news = core::mem::replace(&mut track.off, off) != off;
        news.then_some(Event::ClockRate { peer, ppm, off })
    }

    /// How much faster than this clock the peer's runs, in parts per million, if that is known.
    pub(crate) fn ppm(&self, now: Instant, peer: NodeId) -> Option<i32> {
        let track = self.tracks.get(&peer)?;
        track.ppm.filter(|_| now.since(track.heard_at) < WINDOW)
    }

    /// Forgets all but these peers.
    pub(crate) fn keep(&mut self, member: impl Fn(NodeId) -> bool) {
        self.tracks.retain(|&peer, _| member(peer));
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const PEER: NodeId = NodeId(7);
    const SECOND: u64 = 1_000_000;

    /// A peer that beats every second; all by true time, which is this node's clock.
    struct World {
        rates: Rates,
        told: Vec<(i32, bool)>,
        now: u64,
        boot: u64,
        /// From this true time on its clock counts on from here, so much in a million microseconds.
        since: u64,
        count: u64,
        per_million: u64,
    }

    impl World {
        fn new(ppm: i64) -> Self {
            let rates = Rates::new(Drift::DEFAULT);
            let now = 50 * SECOND;
            let per_million = (1_000_000 + ppm).unsigned_abs();
            Self { rates, told: Vec::new(), now, boot: 1, since: now, count: 0, per_million }
        }

        fn elapsed(&self) -> u64 {
            self.count + (self.now - self.since) * self.per_million / 1_000_000
        }

        /// A second passes, and a beat that was `delay` on its way comes.
        fn beat(&mut self, delay: u64) {
            self.now += SECOND;
            self.arrive(self.now + delay, self.elapsed());
        }

        fn arrive(&mut self, at: u64, elapsed: u64) {
            let at = Instant::from_micros(at);
            let event = self.rates.heard(at, PEER, self.boot, Span::from_micros(elapsed));
            match event {
                Some(Event::ClockRate { peer, ppm, off }) => {
                    assert_eq!(peer, PEER);
                    self.told.push((ppm, off));
                }
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        }

        fn ppm(&self) -> Option<i32> {
            self.rates.ppm(Instant::from_micros(self.now), PEER)
        }
    }

    #[test]
    fn without_jitter_drift_is_exact_and_told_once() {
        for ppm in [-5_000, -501, 501, 1_000] {
            let mut world = World::new(ppm.into());
            for _ in 0..59 {
                world.beat(300);
            }
            assert_eq!(world.ppm(), None, "not measured over a minute yet");
            for _ in 0..200 {
                world.beat(300);
            }
            let measured = world.ppm().unwrap();
            assert!(measured.abs_diff(ppm) <= 1, "{measured} is not {ppm}");
            assert_eq!(world.told, [(measured, true)]);
        }
        let mut fine = World::new(499);
        (0..200).for_each(|_| fine.beat(300));
        assert_eq!((fine.told.len(), fine.ppm().is_some()), (0, true));
    }

    #[test]
    fn a_clock_that_comes_back_is_told_and_one_at_the_limit_is_not_told_for_ever() {
        let mut world = World::new(800);
        (0..100).for_each(|_| world.beat(0));
        // From here on it runs right: its count goes on from where it is.
        (world.count, world.since, world.per_million) = (world.elapsed(), world.now, 1_000_000);
        (0..100).for_each(|_| world.beat(0));
        assert_eq!(world.told.iter().map(|told| told.1).collect::<Vec<_>>(), [true, false]);
        assert!(world.told[1].0.unsigned_abs() <= 400, "{:?}", world.told);

        let mut world = World::new(501);
        for beat in 0..2_000 {
            world.beat(u64::from(beat % 37 == 0) * 200);
        }
        assert_eq!(world.told.len(), 1, "{:?}", world.told);
    }

    #[test]
    fn a_peer_that_starts_anew_is_measured_anew() {
        let mut world = World::new(0);
        (0..100).for_each(|_| world.beat(0));
        assert_eq!(world.ppm(), Some(0));
        (world.boot, world.since) = (2, world.now);
        world.beat(0);
        assert_eq!(world.ppm(), None);
        (0..100).for_each(|_| world.beat(0));
        assert_eq!((world.ppm(), world.told.len()), (Some(0), 0));
    }

    #[test]
    fn after_a_long_silence_it_is_not_known() {
        let mut world = World::new(0);
        (0..100).for_each(|_| world.beat(0));
        world.now += 61 * SECOND;
        assert_eq!(world.ppm(), None);
        world.beat(0);
        assert_eq!(world.ppm(), None);
        world.rates.keep(|_| false);
        assert!(world.rates.tracks.is_empty());
    }

    #[test]
    fn a_pause_of_this_node_is_no_drift() {
        let mut world = World::new(0);
        (0..100).for_each(|_| world.beat(0));
        // For 30 s nothing is taken; then all of it at once.
        let beats = (1..=30).map(|beat| world.elapsed() + beat * SECOND).collect::<Vec<_>>();
        world.now += 30 * SECOND;
        for elapsed in beats {
            world.arrive(world.now, elapsed);
        }
        (0..200).for_each(|_| world.beat(0));
        assert_eq!((world.ppm(), world.told.len()), (Some(0), 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut world = World::new(0);
        (0..10_000).for_each(|_| world.beat(0));
        assert!(world.rates.tracks[&PEER].kept.len() <= 9);
        // Counts that make no sense are no drift to rely on, and harm nobody.
        for (at, elapsed) in
            [(0, u64::MAX), (u64::MAX / 2, 0), (u64::MAX / 2 + 20 * SECOND, u64::MAX)]
        {
            world.arrive(at, elapsed);
        }
    }

    proptest! {
        /// Delays between 0 and 200 ms: the rate is right to what the least delays of two stretches differ by.
        #[test]
        fn jitter_hardly_shows(
            ppm in -1_500_i64..1_500,
            delays in proptest::collection::vec(0_u64..200_000, 400),
            quick in proptest::collection::vec(0_u64..2_000, 400),
        ) {
            let mut world = World::new(ppm);
            for (beat, (slow, quick)) in (0_u64..).zip(delays.into_iter().zip(quick)) {
                // Every fifth beat meets no queue on its way.
                world.beat(if beat % 5 == 0 { quick } else { slow });
            }
            let measured = i64::from(world.ppm().unwrap());
            prop_assert!((measured - ppm).abs() <= 2_000 / 50 + 2, "{} is not {}", measured, ppm);
        }
    }
}
