//! A clock that runs wrong, but never more wrong than the bound allows.
//!
//! Piecewise linear in true time, each piece with a rate of its own within `±ρ`; a *pinned* clock keeps one
//! extreme for the whole run, because that is where a missing margin shows. Exact integer arithmetic: over any true
//! interval `d` the clock advances between `d(1-ρ)` and `d(1+ρ)`, rounded down to a microsecond once and not once
//! per piece.

use leasehold_core::Instant;

use crate::dice::{Dice, Stream};

const MILLION: u64 = 1_000_000;

/// A stretch of constant rate.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// True time at which it starts, and ends.
    from: u64,
    until: u64,
    /// The reading at its start, in microseconds and millionths of one.
    local: u64,
    millionths: u64,
    /// Microseconds of reading in a million microseconds of true time.
    rate: u64,
}

impl Piece {
    fn at(&self, time: u64) -> (u64, u64) {
        let sum = self.millionths + time.saturating_sub(self.from) * self.rate;
        (self.local + sum / MILLION, sum % MILLION)
    }
}

/// The monotonic clock of one node or client.
#[derive(Clone, Debug)]
pub struct Clock {
    dice: Dice,
    stream: Stream,
    drift: u64,
    pinned: Option<u64>,
    pieces: Vec<Piece>,
    /// Pieces drawn since the run began.
    drawn: u64,
    /// Where the last reading was found.
    cursor: usize,
}

impl Clock {
    /// The clock number `number`, which drifts by at most `drift` ppm. `pinned` holds it at an extreme.
    #[must_use]
    pub fn new(dice: Dice, number: usize, drift: u64, pinned: Option<bool>) -> Self {
        let stream = Stream::Clock(number);
        let pinned = pinned.map(|fast| if fast { MILLION + drift } else { MILLION - drift });
        let start = dice.roll(stream, 0).magnitude(1_000, 1 << 40);
        let mut clock =
            Self { dice, stream, drift, pinned, pieces: Vec::new(), drawn: 0, cursor: 0 };
        clock.restart(0, start);
        clock
    }

    /// The same clock with one rate for ever, `ppm` beside true time and never beyond the bound.
    #[must_use]
    pub fn steady(mut self, ppm: i64) -> Self {
        let drift = i64::try_from(self.drift).unwrap_or(0);
        let rate = MILLION.saturating_add_signed(ppm.clamp(-drift, drift));
        self.pinned = Some(rate);
        let start = self.pieces.first().map_or(0, |piece| piece.local);
        self.restart(0, start);
        self
    }

    /// The machine starts anew at true time `time`, with its clock at `local`.
    pub fn restart(&mut self, time: u64, local: u64) {
        self.pieces.clear();
        self.cursor = 0;
        self.push(time, local, 0);
    }

    fn push(&mut self, from: u64, local: u64, millionths: u64) {
        self.drawn += 1;
        let mut roll = self.dice.roll(self.stream, self.drawn);
        let length = roll.magnitude(100_000, 30 * MILLION);
        let drawn = match roll.below(4) {
            0 => MILLION + self.drift,
            1 => MILLION - self.drift,
            _ => roll.between(MILLION - self.drift, MILLION + self.drift),
        };
        let until = if self.pinned.is_some() { u64::MAX } else { from + length };
        let rate = self.pinned.unwrap_or(drawn);
        self.pieces.push(Piece { from, until, local, millionths, rate });
    }

    fn extend(&mut self) {
        let last = self.pieces[self.pieces.len() - 1];
        let (local, millionths) = last.at(last.until);
        self.push(last.until, local, millionths);
    }

    /// The stretches of constant rate between two true times: when each begins, the reading then since the first of
    /// them, and the rate in microseconds a second.
    #[must_use]
    pub fn stretches(&self, from: u64, until: u64) -> Vec<(u64, u64, u64)> {
        let mut clock = self.clone();
        let first = clock.read(from);
        let _drawn = clock.read(until);
        let pieces = clock
            .pieces
            .iter()
            .filter(|piece| piece.until > from && piece.from < until.max(from + 1));
        pieces
            .map(|piece| {
                let begins = piece.from.max(from);
                let (local, _) = piece.at(begins);
                (begins, local.saturating_sub(first.as_micros()), piece.rate)
            })
            .collect()
    }

    /// The reading at true time `time`.
    pub fn read(&mut self, time: u64) -> Instant {
        while self.cursor > 0 && time < self.pieces[self.cursor].from {
            self.cursor -= 1;
        }
        while time >= self.pieces[self.cursor].until {
            self.cursor += 1;
            if self.cursor == self.pieces.len() {
                self.extend();
            }
        }
        Instant::from_micros(self.pieces[self.cursor].at(time).0)
    }

    /// The first true time at which the clock reads `reading` or later.
    pub fn when(&mut self, reading: Instant) -> u64 {
        let wanted = reading.as_micros();
        let mut place = self.cursor;
        while place > 0 && wanted < self.pieces[place].local {
            place -= 1;
        }
        loop {
            let piece = self.pieces[place];
            let missing = wanted.saturating_sub(piece.local).saturating_mul(MILLION);
            let needed = missing.saturating_sub(piece.millionths).div_ceil(piece.rate);
            let time = piece.from.saturating_add(needed);
            // What is hours away is never reached: no need to draw the pieces up to there.
            if time < piece.until || needed > 10_000 * MILLION {
                return time;
            }
            place += 1;
            if place == self.pieces.len() {
                self.extend();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advances_within_the_bound_over_any_interval() {
        for seed in 0..50 {
            let drift = 1_000;
            let mut clock = Clock::new(Dice::new(seed), 3, drift, None);
            let mut roll = Dice::new(seed).roll(Stream::Scenario, 0);
            for _ in 0..200 {
                let from = roll.below(200 * MILLION);
                let length = roll.magnitude(1, 100 * MILLION);
                let passed = clock.read(from + length).since(clock.read(from)).as_micros();
                assert!(passed >= length * (MILLION - drift) / MILLION);
                assert!(passed <= (length * (MILLION + drift)).div_ceil(MILLION));
            }
        }
    }

    #[test]
    fn when_is_the_first_moment() {
        for pinned in [None, Some(true), Some(false)] {
            let mut clock = Clock::new(Dice::new(5), 0, 20_000, pinned);
            let mut roll = Dice::new(5).roll(Stream::Scenario, 1);
            for _ in 0..500 {
                let time = 1 + roll.below(100 * MILLION);
                let reading = clock.read(time);
                let first = clock.when(reading);
                assert!(first <= time);
                assert_eq!(clock.read(first), reading);
                assert!(first == 0 || clock.read(first - 1) < reading);
            }
        }
    }
}
