//! From text to a scenario.

use std::ops::Range;

use leasehold_core::{Drift, Limits, Settings, Span, Timing};
use serde::Deserialize;
use toml::Spanned;

use super::{Complaint, Part, Unreadable, VERSION, WIRE, Written, complaint, rule_called};
use crate::fault::{Fault, Kind, MAX_NODES, Nodes};
use crate::focus::Focus;
use crate::operator::{self, Change};
use crate::scenario::{Habits, Profile, Scenario, Weather};
use crate::script::{Again, By, Fate, Operation, Script, What, Wish};

/// More clients than any file has, so that a typing error does not fill the memory.
const MOST_CLIENTS: u64 = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Spanned<u64>,
    title: Option<String>,
    violates: Option<String>,
    without: Option<Spanned<String>>,
    profile: Option<Spanned<String>>,
    seed: Spanned<u64>,
    masters: Spanned<u64>,
    #[serde(default)]
    replicas: Option<Spanned<u64>>,
    #[serde(default)]
    spares: Option<Spanned<u64>>,
    clients: Spanned<u64>,
    keys: Spanned<u64>,
    founding: Option<Spanned<u64>>,
    quiet: Spanned<u64>,
    end: Option<Spanned<u64>>,
    wall_clock_error: Option<Spanned<u64>>,
    disk: Option<Spanned<u64>>,
    deaf: Option<Vec<Spanned<String>>>,
    lame: Option<Vec<Spanned<String>>>,
    room: Option<u32>,
    #[serde(default)]
    coalesce: bool,
    #[serde(default)]
    dead_clocks: bool,
    limits: Option<Spanned<LimitsText>>,
    clock_drift: Option<Spanned<u64>>,
    timing: Spanned<TimingText>,
    network: Spanned<WeatherText>,
    client_network: Spanned<WeatherText>,
    clocks: Option<Vec<Spanned<ClockText>>>,
    faults: Option<Vec<Spanned<FaultText>>>,
    changes: Option<Vec<Spanned<ChangeText>>>,
    messages: Option<Vec<Spanned<FateText>>>,
    operations: Option<Vec<Spanned<OperationText>>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsText {
    records: Option<u32>,
    waiters_per_key: Option<u32>,
    waiters: Option<u32>,
    operations: Option<u32>,
    snapshot_part: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimingText {
    max_lease: u64,
    op_timeout: u64,
    promise_timeout: u64,
    sync_timeout: u64,
    max_clock_drift: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WeatherText {
    base: u64,
    #[serde(default)]
    jitter: u64,
    #[serde(default)]
    loss: u64,
    #[serde(default)]
    duplicates: u64,
    #[serde(default)]
    late: u64,
    #[serde(default)]
    latest: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockText {
    of: String,
    ppm: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultText {
    from: u64,
    until: u64,
    die: Option<u32>,
    cut: Option<Vec<String>>,
    slow: Option<Vec<String>>,
    slow_disk: Option<Vec<String>>,
    by: Option<u64>,
    fail_disk: Option<Vec<String>>,
    pause: Option<Vec<String>>,
    pause_client: Option<String>,
    crash: Option<Vec<String>>,
    #[serde(default)]
    drain: bool,
    lose: Option<String>,
    wrong_hint: Option<String>,
    vanish: Option<String>,
    #[serde(default)]
    noticed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeText {
    at: u64,
    until: u64,
    masters: Vec<String>,
    #[serde(default)]
    replicas: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FateText {
    from: String,
    to: String,
    kind: String,
    number: u64,
    takes: Option<u64>,
    #[serde(default)]
    lost: bool,
    copy: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgainText {
    at: u64,
    to: String,
    patience: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationText {
    at: u64,
    client: String,
    to: String,
    patience: u64,
    lock: Option<String>,
    extend: Option<String>,
    update: Option<String>,
    release: Option<String>,
    read: Option<String>,
    wait_held: Option<String>,
    wait_released: Option<String>,
    key: Option<String>,
    value: Option<String>,
    lease: Option<u64>,
    #[serde(default)]
    delay: u64,
    #[serde(default)]
    wait: u64,
    owner_value: Option<String>,
    owner_token: Option<bool>,
    #[serde(default)]
    again: Vec<AgainText>,
    cancel: Option<u64>,
    gives_up: Option<u64>,
}

/// Reads a scenario.
///
/// # Errors
///
/// If the text is not a scenario: with the line, and what is expected there.
pub fn read(text: &str) -> Result<Written, Unreadable> {
    let unreadable = |span: Option<Range<usize>>, what: String| {
        let before = text.get(..span.map_or(0, |span| span.start)).unwrap_or(text);
        Unreadable { line: before.matches('\n').count() + 1, what }
    };
    let file: File = toml::from_str(text)
        .map_err(|error| unreadable(error.span(), error.message().replace('\n', ", ")))?;
    let spans = Spans::of(&file);
    let wrong = |(span, what): Wrong| unreadable(Some(span), what);
    if *file.version.get_ref() != VERSION {
        let what = format!("this build reads version {VERSION} only");
        return Err(wrong((file.version.span(), what)));
    }
    let without = match &file.without {
        None => None,
        Some(name) => Some(rule_called(name.get_ref()).ok_or_else(|| {
            let what = format!("no rule is called `{}`; `faults` lists them", name.get_ref());
            wrong((name.span(), what))
        })?),
    };
    let (title, violates) = (file.title.clone().unwrap_or_default(), file.violates.clone());
    let scenario = scenario(file).map_err(wrong)?;
    match complaint(&scenario) {
        Some(Complaint { part, what }) => Err(wrong((spans.of_part(part), what))),
        None => Ok(Written { title, violates, without, scenario }),
    }
}

/// Where something is, and what is wrong with it.
type Wrong = (Range<usize>, String);

/// Where each part of the file is.
struct Spans {
    whole: Vec<(&'static str, Range<usize>)>,
    faults: Vec<Range<usize>>,
    changes: Vec<Range<usize>>,
    messages: Vec<Range<usize>>,
    operations: Vec<Range<usize>>,
}

fn spans_of<T>(list: Option<&Vec<Spanned<T>>>) -> Vec<Range<usize>> {
    list.into_iter().flatten().map(Spanned::span).collect()
}

impl Spans {
    fn of(file: &File) -> Self {
        let mut whole = vec![
            ("seed", file.seed.span()),
            ("masters", file.masters.span()),
            ("clients", file.clients.span()),
            ("keys", file.keys.span()),
            ("quiet", file.quiet.span()),
            ("timing", file.timing.span()),
            ("network", file.network.span()),
            ("client_network", file.client_network.span()),
        ];
        let maybe = [
            ("replicas", &file.replicas),
            ("spares", &file.spares),
            ("founding", &file.founding),
            ("end", &file.end),
            ("wall_clock_error", &file.wall_clock_error),
            ("disk", &file.disk),
            ("clock_drift", &file.clock_drift),
        ];
        whole.extend(maybe.into_iter().filter_map(|(name, at)| Some((name, at.as_ref()?.span()))));
        whole.extend(file.limits.as_ref().map(|limits| ("limits", limits.span())));
        let clocks = file.clocks.iter().flatten().next();
        whole.extend(clocks.map(|clock| ("clocks", clock.span())));
        Self {
            whole,
            faults: spans_of(file.faults.as_ref()),
            changes: spans_of(file.changes.as_ref()),
            messages: spans_of(file.messages.as_ref()),
            operations: spans_of(file.operations.as_ref()),
        }
    }

    fn of_part(&self, part: Part) -> Range<usize> {
        let span = match part {
            Part::Whole(name) => {
                self.whole.iter().find(|(other, _)| *other == name).map(|(_, span)| span)
            }
            Part::Fault(place) => self.faults.get(place),
            Part::Change(place) => self.changes.get(place),
            Part::Message(place) => self.messages.get(place),
            Part::Operation(place) => self.operations.get(place),
        };
        span.cloned().unwrap_or(0..0)
    }
}

fn scenario(file: File) -> Result<Scenario, Wrong> {
    let count = |number: &Spanned<u64>| usize::try_from(*number.get_ref()).unwrap_or(usize::MAX);
    let masters = few(&file.masters, 7, "1 to 7 masters are possible")?;
    let clients = few(&file.clients, MOST_CLIENTS, "at most 64 clients are possible")?;
    let some = |number: &Option<Spanned<u64>>| number.as_ref().map_or(0, count);
    let (replicas, spares) = (some(&file.replicas).min(99), some(&file.spares).min(99));
    let nodes = masters + replicas + spares;
    let profile = match &file.profile {
        None => Profile::Mixed,
        Some(name) => {
            let mut all = Profile::ALL.into_iter().map(|(_, profile, _)| profile);
            let known = all.find(|profile| profile.name() == name.get_ref());
            known.ok_or_else(|| {
                (name.span(), format!("no profile is called `{}`", name.get_ref()))
            })?
        }
    };
    let set = |names: &Option<Vec<Spanned<String>>>| {
        names.iter().flatten().try_fold(Nodes::default(), |set, name| {
            Ok(set.with(node(name.get_ref()).map_err(|what| (name.span(), what))?))
        })
    };
    let (deaf, lame) = (set(&file.deaf)?, set(&file.lame)?);
    let bound = u64::from(file.timing.get_ref().max_clock_drift);
    let mut rates = vec![None; nodes + clients];
    for spanned in file.clocks.into_iter().flatten() {
        let (span, clock) = (spanned.span(), spanned.into_inner());
        let lane = lane(&clock.of, nodes).map_err(|what| (span.clone(), what))?;
        let rate = rates.get_mut(lane);
        *rate.ok_or_else(|| (span, format!("there is no {}", clock.of)))? = Some(clock.ppm);
    }
    let faults = each(file.faults.as_ref(), fault)?;
    let changes = each(file.changes.as_ref(), change)?;
    let fates = each(file.messages.as_ref(), |text| fate(text, nodes))?;
    let mut operations: Vec<Operation> = Vec::new();
    for spanned in file.operations.iter().flatten() {
        let next = operation(spanned.get_ref(), &operations);
        operations.push(next.map_err(|what| (spanned.span(), what))?);
    }
    let time = |at: &Option<Spanned<u64>>, usual| at.as_ref().map_or(usual, |at| *at.get_ref());
    let end = file.end.as_ref().map(|end| *end.get_ref());
    Ok(Scenario {
        seed: file.seed.into_inner(),
        profile,
        focus: Focus::Everything,
        masters,
        replicas,
        spares,
        changes,
        keys: usize::try_from(file.keys.into_inner()).unwrap_or(usize::MAX),
        settings: settings(file.timing.get_ref(), file.limits.as_ref().map(Spanned::get_ref)),
        drift: time(&file.clock_drift, bound),
        dead_clocks: file.dead_clocks,
        coalesce: file.coalesce,
        room: file.room.unwrap_or(0),
        lame,
        clients: vec![Habits::default(); clients],
        pinned: Vec::new(),
        wall_error: time(&file.wall_clock_error, 0),
        disk: time(&file.disk, 100),
        weather: weather(&file.network.into_inner()),
        client_weather: weather(&file.client_network.into_inner()),
        deaf,
        founding: time(&file.founding, 20_000),
        quiet: file.quiet.into_inner(),
        faults,
        wire: WIRE,
        blocking: false,
        script: Some(Script { operations, fates, clocks: rates, end }),
    })
}

fn settings(text: &TimingText, limits: Option<&LimitsText>) -> Settings {
    let (usual, given) = (Limits::default(), limits.copied().unwrap_or_default());
    let limits = Limits {
        records: given.records.unwrap_or(usual.records),
        waiters_per_key: given.waiters_per_key.unwrap_or(usual.waiters_per_key),
        waiters: given.waiters.unwrap_or(usual.waiters),
        operations: given.operations.unwrap_or(usual.operations),
        snapshot_part: given.snapshot_part.unwrap_or(usual.snapshot_part),
        ..usual
    };
    let timing = Timing {
        max_lease: Span::from_micros(text.max_lease),
        op_timeout: Span::from_micros(text.op_timeout),
        promise_timeout: Span::from_micros(text.promise_timeout),
        sync_timeout: Span::from_micros(text.sync_timeout),
        max_clock_drift: Drift::from_ppm(text.max_clock_drift),
    };
    Settings { timing, limits }
}

fn few(number: &Spanned<u64>, most: u64, what: &str) -> Result<usize, Wrong> {
    let few = usize::try_from(*number.get_ref()).ok().filter(|_| *number.get_ref() <= most);
    few.ok_or_else(|| (number.span(), format!("{what}, not {}", number.get_ref())))
}

fn each<T, U>(
    list: Option<&Vec<Spanned<T>>>,
    read: impl Fn(&T) -> Result<U, String>,
) -> Result<Vec<U>, Wrong> {
    let one = |spanned: &Spanned<T>| read(spanned.get_ref()).map_err(|what| (spanned.span(), what));
    list.into_iter().flatten().map(one).collect()
}

const fn weather(text: &WeatherText) -> Weather {
    let WeatherText { base, jitter, loss, duplicates, late, latest } = *text;
    Weather { base, jitter, loss, duplicates, late, latest }
}

fn numbered(name: &str, letter: char, what: &str) -> Result<usize, String> {
    let number = name.strip_prefix(letter).and_then(|number| number.parse::<u16>().ok());
    let number = number.map(usize::from);
    number.ok_or_else(|| format!("`{name}` is not {what} such as {letter}0"))
}

fn node(name: &str) -> Result<usize, String> {
    let number = numbered(name, 'n', "a node")?;
    if number < MAX_NODES { Ok(number) } else { Err(format!("there is no {name}")) }
}

/// Nodes first, then clients.
fn lane(name: &str, nodes: usize) -> Result<usize, String> {
    if name.starts_with('c') { Ok(nodes + numbered(name, 'c', "a client")?) } else { node(name) }
}

fn nodes(names: &[String]) -> Result<Nodes, String> {
    names.iter().try_fold(Nodes::default(), |set, name| Ok(set.with(node(name)?)))
}

fn cut(links: &[String]) -> Result<[Nodes; MAX_NODES], String> {
    let mut cut = [Nodes::default(); MAX_NODES];
    for link in links {
        let wrong = || format!("`{link}` is not a link such as n0>n1, or n0-n1 for both ways");
        let both = link.split_once('-');
        let (one, other) = both.or_else(|| link.split_once('>')).ok_or_else(wrong)?;
        let (one, other) = (node(one)?, node(other)?);
        cut[one] = cut[one].with(other);
        if both.is_some() {
            cut[other] = cut[other].with(one);
        }
    }
    Ok(cut)
}

fn fault(text: &FaultText) -> Result<Fault, String> {
    let by = || text.by.ok_or("`by` is missing: how much slower, in microseconds".to_owned());
    let client = |name: &str| numbered(name, 'c', "a client");
    let mut kinds = Vec::new();
    if let Some(links) = &text.cut {
        kinds.push(Kind::Cut(cut(links)?));
    }
    if let Some(names) = &text.slow {
        kinds.push(Kind::Slow(nodes(names)?, by()?));
    }
    if let Some(names) = &text.slow_disk {
        kinds.push(Kind::SlowDisk(nodes(names)?, by()?));
    }
    if let Some(names) = &text.fail_disk {
        kinds.push(Kind::FailDisk(nodes(names)?));
    }
    if let Some(names) = &text.pause {
        kinds.push(Kind::Pause(nodes(names)?));
    }
    if let Some(name) = &text.pause_client {
        kinds.push(Kind::PauseClient(client(name)?));
    }
    if let Some(names) = &text.crash {
        kinds.push(Kind::Crash { nodes: nodes(names)?, drain: text.drain });
    }
    if let Some(name) = &text.lose {
        kinds.push(Kind::Lose(node(name)?));
    }
    if let Some(link) = &text.wrong_hint {
        let ends = link.split_once('>');
        let (one, other) = ends.ok_or_else(|| format!("`{link}` is not a link such as n0>n1"))?;
        kinds.push(Kind::WrongHint { node: node(one)?, peer: node(other)? });
    }
    if let Some(name) = &text.vanish {
        kinds.push(Kind::Vanish { client: client(name)?, noticed: text.noticed });
    }
    let [kind] = kinds.as_slice() else {
        return Err("a fault is exactly one of `cut`, `slow`, `slow_disk`, `fail_disk`, `pause`, `pause_client`, `crash`, `lose`, \
                    `wrong_hint` and `vanish`"
            .to_owned());
    };
    let die = usize::try_from(text.die.unwrap_or(0)).unwrap_or(0);
    Ok(Fault { from: text.from, until: text.until, kind: *kind, die })
}

fn change(text: &ChangeText) -> Result<Change, String> {
    let ChangeText { at, until, masters, replicas } = text;
    let wish = Wish { masters: nodes(masters)?, replicas: nodes(replicas)? };
    let (at, until) = (*at, *until);
    Ok(Change { at, until, kind: operator::Kind::Exactly(wish) })
}

fn fate(text: &FateText, nodes: usize) -> Result<Fate, String> {
    let FateText { from, to, kind, number, takes, lost, copy } = text;
    if *lost == takes.is_some() {
        return Err("a message either is `lost = true` or `takes` so many microseconds".to_owned());
    }
    let (from, to) = (lane(from, nodes)?, lane(to, nodes)?);
    Ok(Fate { from, to, kind: kind.clone(), number: *number, takes: *takes, copy: *copy })
}

fn operation(text: &OperationText, earlier: &[Operation]) -> Result<Operation, String> {
    let client = numbered(&text.client, 'c', "a client")?;
    let key = |name: &str| numbered(name, 'k', "a key");
    let missing = |what: &str| format!("`{what}` is missing");
    let lease = || text.lease.ok_or_else(|| missing("lease"));
    let value = || text.value.clone().ok_or_else(|| missing("value"));
    let by = || By { token: text.owner_token.unwrap_or(true), value: text.owner_value.clone() };
    // Of the same client; whatever is not a lock has the key of its lock.
    let of = |name: &str| {
        let asked = |op: &&Operation| {
            op.client == client
                && matches!(&op.what, What::Lock { name: other, .. } if other == name)
        };
        let lock = earlier.iter().find(asked);
        lock.map(|lock| lock.key).ok_or_else(|| {
            format!("there is no lock called `{name}` of {} above this line", text.client)
        })
    };
    let mut whats = Vec::new();
    if let Some(name) = text.lock.clone() {
        let key = key(text.key.as_ref().ok_or_else(|| missing("key"))?)?;
        let (value, lease) = (value()?, lease()?);
        whats.push((key, What::Lock { name, value, lease, delay: text.delay, wait: text.wait }));
    }
    if let Some(name) = text.extend.clone() {
        whats.push((of(&name)?, What::Extend { of: name, by: by(), lease: lease()? }));
    }
    if let Some(name) = text.update.clone() {
        whats.push((of(&name)?, What::Update { of: name, by: by(), value: value()? }));
    }
    if let Some(name) = text.release.clone() {
        whats.push((of(&name)?, What::Release { of: name, by: by() }));
    }
    let plain = [
        (&text.read, What::Read),
        (&text.wait_held, What::WaitHeld),
        (&text.wait_released, What::WaitReleased),
    ];
    for (name, what) in plain {
        if let Some(name) = name {
            whats.push((key(name)?, what));
        }
    }
    let (Some((key, what)), None) = (whats.pop(), whats.pop()) else {
        return Err("an operation is exactly one of `lock`, `extend`, `update`, `release`, `read`, `wait_held` and \
                    `wait_released`"
            .to_owned());
    };
    let again = text
        .again
        .iter()
        .map(|again| Ok(Again { at: again.at, to: node(&again.to)?, patience: again.patience }));
    Ok(Operation {
        at: text.at,
        client,
        key,
        what,
        to: node(&text.to)?,
        patience: text.patience,
        again: again.collect::<Result<_, String>>()?,
        cancel: text.cancel,
        gives_up: text.gives_up,
    })
}
