//! The world around a node's disk, and the ends and beginnings of its process.
//!
//! A driver writes the node file whole, beside the old one, and renames it when it is synced: so one write is under way at
//! a time, and whoever crashes meanwhile finds the old file or the new one, never a mixture. A write that fails is
//! tried again, and nothing is acknowledged before one succeeds. What a disk that lies would do is not in the model.

use leasehold_core::{Input, Mark as FileMark, NodeFile, NodeId, wire};

use crate::dice::{Stream, wide};
use crate::fault::{Kind, Nodes};
use crate::host::Wall;
use crate::marks::Mark;
use crate::scenario::MS;
use crate::world::{Happening, World};

/// One file in so many is encoded and decoded on its way.
const ENCODE_EVERY: u64 = 4;

impl World<'_> {
    /// The node wants a version of its file on disk.
    pub(crate) fn persist(&mut self, number: usize, mark: FileMark, file: Box<NodeFile>) {
        self.counts.meet(Mark::FileWrites);
        let host = &mut self.hosts[number];
        if self.plan.coalesce && host.writing.len() > 1 {
            // Only the newest matters.
            host.writing.pop_back();
            self.counts.meet(Mark::FilesSkipped);
        }
        host.writing.push_back((mark, file));
        if host.writing.len() == 1 {
            self.begin_write(number, 0);
        }
    }

    /// Begins to write the first file that waits, after a pause.
    fn begin_write(&mut self, number: usize, pause: u64) {
        let slow = |kind: &Kind| {
            if let Kind::SlowDisk(nodes, extra) = kind {
                nodes.has(number).then_some(*extra)
            } else {
                None
            }
        };
        let faults = crate::fault::under_way(&self.plan.faults, &self.active);
        let slow: u64 = faults.filter_map(slow).sum();
        let host = &mut self.hosts[number];
        host.writes += 1;
        let mut roll = self.dice.roll(Stream::Disk(number), host.writes);
        let usual = roll.magnitude(50, self.plan.disk.max(100));
        let boot = host.boots;
        let time = self.now + pause + usual + slow;
        self.queue.push(time, Happening::Written { node: number, boot });
    }

    /// The write under way ends.
    pub(crate) fn written(&mut self, number: usize, boot: u64) {
        if self.hosts[number].boots != boot || self.hosts[number].node.is_none() {
            return;
        }
        if self.held_by(failing_disks, number) {
            self.counts.meet(Mark::FilesFailed);
            let host = &mut self.hosts[number];
            if self.plan.coalesce && host.writing.len() > 1 {
                host.writing.pop_front();
                self.counts.meet(Mark::FilesSkipped);
            }
            let mut roll = self.dice.roll(Stream::Disk(number), (1 << 41) + host.writes);
            let pause = roll.magnitude(MS, 100 * MS);
            let who = || format!("n{number}");
            self.trace.line(self.now, None, who, || "writing the node file fails".into());
            return self.begin_write(number, pause);
        }
        let Some((mark, file)) = self.hosts[number].writing.pop_front() else { return };
        if self.events.is_multiple_of(ENCODE_EVERY) {
            let read = wire::decode_file(&wire::encode_file(&file));
            if read.as_ref() != Ok(&*file) {
                let story = format!("the node file {file:?} came back as {read:?}");
                self.violate("the wire", story);
            }
        }
        self.hosts[number].durable = *file;
        if !self.hosts[number].writing.is_empty() {
            self.begin_write(number, 0);
        }
        self.feed(number, self.now, Input::Persisted(mark));
    }

    /// What a crash leaves of a file that was being written is never taken for a file.
    fn judge_torn(&mut self, number: usize, cut: u64) {
        let Some((_, file)) = self.hosts[number].writing.front() else { return };
        let mut bytes = wire::encode_file(file);
        let length = usize::try_from(cut % wide(bytes.len())).unwrap_or(0);
        if cut & (1 << 40) == 0 {
            bytes.truncate(length);
        } else {
            // The length was written before the contents were.
            bytes[length..].fill(0);
        }
        self.counts.meet(Mark::FilesTorn);
        if let Ok(read) = wire::decode_file(&bytes)
            && read != **file
        {
            self.violate("the wire", format!("a torn node file was read as {read:?}"));
        }
    }

    pub(crate) fn crash(&mut self, nodes: Nodes) {
        for number in (0..self.hosts.len()).filter(|node| nodes.has(*node)) {
            if self.hosts[number].node.is_none() || !self.down(number) {
                continue;
            }
            let host = &mut self.hosts[number];
            let mut roll = self.dice.roll(Stream::Disk(number), u64::MAX - host.boots);
            let under_way = host.writing.len();
            let kept = roll.index(under_way.min(1) + 1);
            self.counts.add(Mark::FilesLost, wide(under_way - kept));
            if kept == 0 {
                self.judge_torn(number, roll.bits());
            }
            let open = self.hosts[number].crash(kept);
            self.counts.add(Mark::Unanswered, wide(open));
            self.counts.meet(Mark::Crashes);
            let who = || format!("n{number}");
            self.trace.line(self.now, None, who, || format!("CRASH, {open} answers owed"));
            self.film_moment(Some(number), "crash", || format!("crash, {open} answers owed"));
        }
    }

    /// The node crashes, and if the cluster survives that, it loses its file.
    pub(crate) fn lose(&mut self, number: usize) {
        let lost = self.may_lose(number);
        self.crash(Nodes::default().with(number));
        if lost {
            let host = &mut self.hosts[number];
            let mut roll = self.dice.roll(Stream::Disk(number), (1 << 40) + wide(host.past.len()));
            host.lose(NodeId(roll.bits()));
            self.around.ids[number] = host.id;
            self.trace.name(host.id, number);
            self.counts.meet(Mark::FilesGone);
            let who = || format!("n{number}");
            self.trace.line(self.now, None, who, || "the node file is lost".into());
            self.film_moment(Some(number), "lost", || "the node file is lost".to_owned());
        }
    }

    pub(crate) fn boot(&mut self, number: usize) {
        let held = self.down(number);
        let host = &mut self.hosts[number];
        if host.node.is_some() || held {
            return;
        }
        if let Some(film) = &mut self.film {
            film.clock_ends(number, self.now, &host.clock);
        }
        let wall = Wall { error: self.plan.wall_error, dead: self.plan.dead_clocks };
        host.boot(number, self.now, self.plan.settings, self.dice, wall);
        let (file, last) = (&host.durable, host.last);
        self.trace.line(self.now, Some(last), || format!("n{number}"), || format!("BOOT {file:?}"));
        self.film_boot(number);
        if self.hosts[number].boots > 1 {
            self.counts.meet(Mark::Restarts);
        }
        self.arrange(number);
        for peer in (0..self.hosts.len()).filter(|peer| *peer != number) {
            // Its connections broke when it died, whether or not anybody was told.
            if self.hosts[peer].told[number].is_some() {
                self.push_hint(peer, number, true);
            }
        }
        self.hints();
    }

    /// Whether `node` is held down.
    fn down(&self, node: usize) -> bool {
        self.lame.has(node) || self.held_by(crashed_nodes, node)
    }
}

fn failing_disks(kind: &Kind) -> Option<Nodes> {
    if let Kind::FailDisk(nodes) = kind { Some(*nodes) } else { None }
}

fn crashed_nodes(kind: &Kind) -> Option<Nodes> {
    match kind {
        Kind::Crash { nodes, .. } => Some(*nodes),
        Kind::Lose(node) => Some(Nodes::default().with(*node)),
        Kind::Cut(_)
        | Kind::Slow(..)
        | Kind::Pause(_)
        | Kind::PauseClient(_)
        | Kind::WrongHint { .. }
        | Kind::SlowDisk(..)
        | Kind::FailDisk(_)
        | Kind::Vanish { .. } => None,
    }
}
