//! A run as a space-time diagram: one HTML file that needs nothing else.
//!
//! Time runs to the right. Each node and each client has a lane, with the ticks of its own clock; messages are slanted lines between
//! them; what a client believes to own is a bar in true time, and where two believe the same, that is red. The page holds
//! the run as data and draws any part of it, so that one file does for the whole and for the microsecond that matters. It asks
//! nobody for anything: its own security policy forbids it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::check::Violation;
use crate::fault::{Fault, Kind, MAX_NODES, Nodes};
use crate::film::{Film, Moment};
use crate::history::{Belief, Call, History, Op, Verdict};
use crate::run::Run;
use crate::scenario::Scenario;

const PAGE: &str = include_str!("picture/page.html");
const STYLE: &str = include_str!("picture/style.css");
const SCRIPT: &str = include_str!("picture/draw.js");

/// More violations are of no help.
const MOST_VIOLATIONS: usize = 12;

/// The page about a run of `plan` that was made with `picture`; `None` if it was not.
#[must_use]
pub fn page(plan: &Scenario, run: &Run, title: &str) -> Option<String> {
    let film = run.film.as_deref()?;
    let violations: String = run
        .report
        .violations
        .iter()
        .take(MOST_VIOLATIONS)
        .map(|Violation { rule, story }| {
            format!("<li><b>{}</b>: {}</li>", escaped(rule), escaped(&short(story, 600)))
        })
        .collect();
    let verdict = run.report.verdict();
    let about = escaped(verdict.lines().next().unwrap_or_default());
    // Between the tags of a script nothing is an entity, so `<` may not stand there at all.
    let data = data(plan, run, film).to_string().replace('<', "\\u003c");
    let mut page = String::with_capacity(PAGE.len() + data.len() + SCRIPT.len() + STYLE.len());
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}")?;
        page.push_str(before);
        match name {
            "title" => page.push_str(&escaped(title)),
            "about" => page.push_str(&about),
            "violations" => page.push_str(&violations),
            "style" => page.push_str(STYLE),
            "script" => page.push_str(SCRIPT),
            "data" => page.push_str(&data),
            _ => return None,
        }
        rest = after;
    }
    page.push_str(rest);
    Some(page)
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

fn short(text: &str, most: usize) -> String {
    let mut short: String = text.chars().take(most).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn data(plan: &Scenario, run: &Run, film: &Film) -> Value {
    let end = run.report.simulated;
    let overlaps = overlaps(&run.history.beliefs);
    let violations = violations(run, film, &overlaps);
    let times = violations.iter().filter_map(|violation| violation["at"].as_array()).flatten();
    let last = times.filter_map(Value::as_u64).max().unwrap_or(0);
    // What comes after all faults is of interest only if something goes wrong there.
    let interest = if last > plan.quiet { end } else { end.min(plan.quiet) };
    let travels = film.travels.iter().map(|travel| {
        json!({
            "at": travel.at, "from": travel.from, "to": travel.to, "kind": travel.kind, "number": travel.number,
            "takes": travel.takes, "cut": travel.cut, "key": travel.key, "text": travel.text,
        })
    });
    // Who asks when everything must work again has no lane.
    let lanes = plan.nodes() + plan.clients.len();
    let seen = film.travels.iter().map(|travel| travel.from < lanes && travel.to < lanes);
    let travels: Vec<Value> =
        travels.zip(seen).filter(|(_, seen)| *seen).map(|(travel, _)| travel).collect();
    let weather = &plan.weather;
    json!({
        "end": end,
        "quiet": plan.quiet,
        "interest": interest + interest / 24,
        "nodes": plan.nodes(),
        "keys": plan.keys,
        "trip": weather.base + weather.jitter / 2 + 1,
        "lanes": lane_values(plan, film, end),
        "messages": travels,
        "moments": film.moments.iter().map(moment).collect::<Vec<_>>(),
        "faults": plan.faults.iter().map(fault).collect::<Vec<_>>(),
        "beliefs": beliefs(&run.history.beliefs, &overlaps, plan.clients.len()),
        "overlaps": overlaps.iter().map(overlap).collect::<Vec<_>>(),
        "operations": operations(&run.history, plan.clients.len()),
        "violations": violations,
    })
}

fn moment(moment: &Moment) -> Value {
    let Moment { at, lane, what, text } = moment;
    json!({ "at": at, "lane": lane, "what": what, "text": text })
}

/// Stretches between a moment called `begins` and the next one called `ends`.
fn stretches(film: &Film, lane: usize, begins: &str, ends: &str, end: u64) -> Vec<[u64; 2]> {
    let mut found: Vec<[u64; 2]> = Vec::new();
    let mut open = None;
    for moment in film.moments.iter().filter(|moment| moment.lane == Some(lane)) {
        if moment.what == begins && open.is_none() {
            open = Some(moment.at);
        } else if moment.what == ends
            && let Some(from) = open.take()
        {
            found.push([from, moment.at]);
        }
    }
    found.extend(open.map(|from| [from, end]));
    found
}

fn lane_values(plan: &Scenario, film: &Film, end: u64) -> Vec<Value> {
    let nodes = plan.nodes();
    let rate = |lane: usize| {
        let written = plan.script.as_ref().and_then(|script| script.clocks.get(lane).copied());
        let drift = i64::try_from(plan.drift).unwrap_or(0);
        let pinned = plan.pinned.get(lane).copied().flatten();
        let pinned = pinned.map(|fast| if fast { drift } else { -drift });
        let rate = written.flatten().or(pinned);
        rate.map_or_else(|| "clock wanders".to_owned(), |ppm| format!("clock {ppm:+} ppm"))
    };
    let during = |which: &dyn Fn(&Kind) -> bool| {
        let faults = plan.faults.iter().filter(|fault| which(&fault.kind));
        faults.map(|fault| [fault.from, fault.until]).collect::<Vec<_>>()
    };
    (0..nodes + plan.clients.len())
        .map(|lane| {
            let client = lane.checked_sub(nodes);
            let (name, kind) = match client {
                Some(client) => (format!("c{client}"), "client"),
                None if lane < plan.masters => (format!("n{lane}"), "master"),
                None if lane < plan.masters + plan.replicas => (format!("n{lane}"), "replica"),
                None => (format!("n{lane}"), "spare"),
            };
            let (down, still) = match client {
                None => (
                    stretches(film, lane, "crash", "boot", end),
                    stretches(film, lane, "pause", "resume", end),
                ),
                Some(number) => (
                    during(&|kind| matches!(kind, Kind::Vanish { client, .. } if *client == number)),
                    during(&|kind| *kind == Kind::PauseClient(number)),
                ),
            };
            let clocks = film.clocks.iter().filter(|(of, ..)| *of == lane);
            let clock: Vec<Value> = clocks
                .enumerate()
                .flat_map(|(boot, (_, from, until, clock))| {
                    let points = clock.stretches(*from, *until).into_iter();
                    points.map(move |(at, since, rate)| json!([at, since, rate, boot]))
                })
                .collect();
            let rate = rate(lane);
            json!({ "name": name, "kind": kind, "rate": rate, "down": down, "still": still, "clock": clock })
        })
        .collect()
}

fn names(nodes: Nodes) -> String {
    let all = (0..MAX_NODES).filter(|node| nodes.has(*node));
    all.map(|node| format!("n{node}")).collect::<Vec<_>>().join(" ")
}

fn fault(fault: &Fault) -> Value {
    let text = match &fault.kind {
        Kind::Cut(cut) => {
            let rows = cut.iter().enumerate().filter(|(_, row)| **row != Nodes::default());
            let rows: Vec<String> =
                rows.map(|(from, row)| format!("n{from} ↛ {}", names(*row))).collect();
            format!("cut: {}", rows.join(", "))
        }
        Kind::Slow(nodes, by) => format!("slow by {by} µs: {}", names(*nodes)),
        Kind::SlowDisk(nodes, by) => format!("disk slow by {by} µs: {}", names(*nodes)),
        Kind::FailDisk(nodes) => format!("disk fails: {}", names(*nodes)),
        Kind::Pause(nodes) => format!("pause: {}", names(*nodes)),
        Kind::PauseClient(client) => format!("pause: c{client}"),
        Kind::Crash { nodes, drain } => {
            format!("{}: {}", if *drain { "drain, crash" } else { "crash" }, names(*nodes))
        }
        Kind::Lose(node) => format!("crash, file lost: n{node}"),
        Kind::WrongHint { node, peer } => format!("n{node} is misled about n{peer}"),
        Kind::Vanish { client, noticed } => {
            format!("c{client} vanishes{}", if *noticed { ", noticed" } else { "" })
        }
    };
    json!({ "from": fault.from, "until": fault.until, "text": text })
}

/// Two beliefs that should not be there at once.
struct Overlap {
    key: usize,
    from: u64,
    until: u64,
    /// Where in the history.
    beliefs: [usize; 2],
    clients: [usize; 2],
}

fn overlaps(beliefs: &[Belief]) -> Vec<Overlap> {
    let mut found = Vec::new();
    for (number, one) in beliefs.iter().enumerate() {
        for (other_number, other) in beliefs.iter().enumerate().take(number) {
            let (from, until) = (one.from.max(other.from), one.until.min(other.until));
            if one.key == other.key && one.token != other.token && from < until {
                let (beliefs, clients) = ([other_number, number], [other.client, one.client]);
                found.push(Overlap { key: one.key, from, until, beliefs, clients });
            }
        }
    }
    found
}

fn overlap(overlap: &Overlap) -> Value {
    json!({ "key": overlap.key, "from": overlap.from, "until": overlap.until, "clients": overlap.clients })
}

fn beliefs(beliefs: &[Belief], overlaps: &[Overlap], clients: usize) -> Vec<Value> {
    // The later one of two that overlap goes into the lower half of the row.
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    for overlap in overlaps {
        rows.entry(overlap.beliefs[0]).or_insert(0);
        let above = rows.get(&overlap.beliefs[0]).copied().unwrap_or(0);
        rows.entry(overlap.beliefs[1]).or_insert(1 - above);
    }
    let seen = beliefs.iter().enumerate().filter(|(_, belief)| belief.client < clients);
    seen.map(|(number, belief)| {
        let row = rows.get(&number);
        json!({
            "key": belief.key, "client": belief.client, "token": belief.token.to_string(), "from": belief.from,
            "until": belief.until, "clash": row.is_some(), "row": row.copied().unwrap_or(0),
        })
    })
    .collect()
}

fn operations(history: &History, clients: usize) -> Vec<Value> {
    let seen = history.ops.iter().filter(|op| op.client < clients);
    seen.map(|op| {
        let Op { key, client, call, invoked, answered, verdict, local, .. } = op;
        let word = match (call, local) {
            (_, Some(true)) => "wait until held",
            (_, Some(false)) => "wait until free",
            (Call::Lock { .. }, None) => "lock",
            (Call::Extend { .. }, None) => "extend",
            (Call::Update { .. }, None) => "update",
            (Call::Release { .. }, None) => "release",
            (Call::Read, None) => "read",
        };
        let came = match verdict {
            Verdict::Unknown => "unknown",
            Verdict::Nothing => "nothing",
            Verdict::Done { repeated: true, .. } => "done before",
            Verdict::Done { .. } => "done",
            Verdict::Held { .. } => "held",
            Verdict::Free => "free",
        };
        json!({
            "client": client, "key": key, "at": invoked, "answered": answered, "word": format!("{word} k{key}: {came}"),
            "text": short(&format!("{call:?}"), 400), "verdict": short(&format!("{verdict:?}"), 400),
        })
    })
    .collect()
}

/// What went wrong, with the times at which it did, as far as its story names them.
fn violations(run: &Run, film: &Film, overlaps: &[Overlap]) -> Vec<Value> {
    let all = run.report.violations.iter().enumerate().take(MOST_VIOLATIONS);
    all.map(|(number, Violation { rule, story })| {
        let when = film.violated.get(number).copied().flatten();
        let mut at: Vec<u64> = when.into_iter().collect();
        if at.is_empty() && *rule == "mutual exclusion" {
            at.extend(overlaps.iter().map(|overlap| overlap.from));
        } else if at.is_empty() {
            at = times_in(story);
        }
        at.sort_unstable();
        at.dedup();
        json!({ "rule": rule, "story": story, "at": at })
    })
    .collect()
}

/// The times that a story names: `12 µs`, and the beginnings of `[12..34`.
fn times_in(story: &str) -> Vec<u64> {
    let words: Vec<&str> = story.split_whitespace().collect();
    let named = words.windows(2).filter(|pair| pair[1].starts_with("µs"));
    let named = named.filter_map(|pair| pair[0].parse().ok());
    let begun = words.iter().filter_map(|word| word.strip_prefix('[')?.split_once(".."));
    named.chain(begun.filter_map(|(from, _)| from.parse().ok())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Look, run};

    fn picture(seed: u64, title: &str) -> String {
        let plan = Scenario::draw(seed);
        let mut run = run(&plan, Look { picture: true, ..Look::default() });
        run.report.violations.push(Violation { rule: "token order", story: title.to_owned() });
        page(&plan, &run, title).expect("the run was made with a picture")
    }

    /// The page without what its scripts and styles contain, and those contents.
    fn apart(page: &str) -> (String, Vec<String>) {
        let (mut outside, mut inside, mut rest) = (String::new(), Vec::new(), page);
        while let Some(place) = ["<script", "<style"].iter().filter_map(|t| rest.find(t)).min() {
            let name = if rest[place..].starts_with("<script") { "script" } else { "style" };
            let begins = place + rest[place..].find('>').expect("a tag ends") + 1;
            let ends = begins + rest[begins..].find(&format!("</{name}>")).expect("it is closed");
            outside.push_str(&rest[..begins]);
            inside.push(rest[begins..ends].to_owned());
            rest = &rest[ends..];
            let close = rest.find('>').expect("a tag ends") + 1;
            outside.push_str(&rest[..close]);
            rest = &rest[close..];
        }
        (outside + rest, inside)
    }

    #[test]
    fn the_page_is_well_formed_and_escapes_what_it_shows() {
        let evil = "</script><script>alert(1)</script> & \"<b>\" 'x' <!-- {{data}}";
        let (outside, inside) = apart(&picture(3, evil));
        assert_eq!(inside.len(), 3, "a style, the data, and the script");
        let mut open: Vec<String> = Vec::new();
        for piece in outside.split('<').skip(1) {
            let (tag, _text) = piece.split_once('>').expect("each < begins a tag");
            let name: String = tag
                .trim_start_matches(['/', '!'])
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            if tag.starts_with('/') {
                assert_eq!(open.pop().as_ref(), Some(&name), "{tag}");
            } else if !tag.starts_with('!') && !tag.ends_with('/') {
                assert!(
                    [
                        "html", "head", "title", "style", "body", "header", "h1", "p", "ol", "li",
                        "b", "i", "span", "button", "label", "select", "option", "main", "canvas",
                        "div", "script"
                    ]
                    .contains(&name.as_str()),
                    "{tag}"
                );
                open.push(name);
            }
        }
        assert_eq!(open, [""; 0]);
        // Where the title was put, and nowhere else, not even in the data, is there anything of it that a browser would run.
        assert!(outside.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp;"));
        assert!(!outside.contains("alert(1)</"));
        let data: Value = serde_json::from_str(&inside[1]).expect("the data is JSON");
        assert!(!inside[1].contains('<'));
        let told =
            data["violations"].as_array().and_then(|all| all.last()).map(|v| v["story"].clone());
        assert_eq!(told, Some(Value::from(evil)));
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let page = picture(5, "a title");
        let (outside, inside) = apart(&page);
        assert!(outside.contains("default-src 'none'"));
        for word in ["src=\"", "href=", "<link", "<img", "<iframe", "@import"] {
            assert!(!outside.contains(word), "{word}");
        }
        for word in [
            "url(",
            "http:",
            "https:",
            "//cdn",
            "fetch(",
            "XMLHttpRequest",
            "import ",
            "WebSocket",
            "innerHTML",
            "eval(",
        ] {
            assert!(
                inside.iter().enumerate().all(|(n, text)| n == 1 || !text.contains(word)),
                "{word}"
            );
        }
    }

    #[test]
    fn the_data_shows_the_run() {
        let plan = Scenario::draw(11);
        let run = run(&plan, Look { picture: true, ..Look::default() });
        let film = run.film.as_deref().expect("it was wanted");
        let data = data(&plan, &run, film);
        let count = |name: &str| data[name].as_array().map_or(0, Vec::len);
        assert_eq!(count("lanes"), plan.nodes() + plan.clients.len());
        assert!(count("messages") > 500 && count("beliefs") > 5 && count("operations") > 30);
        assert_eq!(count("overlaps"), 0);
        // Clocks advance within the bound on every stretch, and time goes forward.
        for lane in data["lanes"].as_array().expect("lanes") {
            let clock = lane["clock"].as_array().expect("a clock");
            assert!(!clock.is_empty());
            let drift = plan.drift;
            for point in clock {
                let rate = point[2].as_u64().expect("a rate");
                assert!(rate.abs_diff(1_000_000) <= drift);
            }
            assert!(clock.windows(2).all(|two| two[0][0].as_u64() <= two[1][0].as_u64()));
        }
    }

    #[test]
    fn overlaps_are_found() {
        use leasehold_core::Token;
        let belief = |client, token, from, until| Belief {
            key: 0,
            client,
            token: Token(token),
            from,
            until,
        };
        let all = [belief(0, 1, 0, 100), belief(1, 2, 60, 120), belief(2, 2, 120, 130)];
        let found = overlaps(&all);
        assert_eq!(found.iter().map(|o| (o.from, o.until)).collect::<Vec<_>>(), [(60, 100)]);
        assert_eq!(found[0].clients, [0, 1]);
        assert_eq!(times_in("asked at 17 µs, or [23..none c1"), [17, 23]);
    }
}
