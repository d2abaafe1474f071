//! Lines of a transcript, and what they mean.

use std::collections::BTreeMap;

use leasehold_core::Span;

use crate::world::{Name, Way};

/// Who must hold a key, as a script says it: `me`, `#1`, `me#1` or `any`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The value that must be there.
    pub value: Option<String>,
    /// The request whose token must be the current one.
    pub request: Option<u64>,
}

/// The words after a command's own, by what they name: `ttl=30s`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, String>);

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `cluster a b c [founded] [wall=b:10s] [max_lease=10s] …`
    Cluster(Vec<Name>, Options),
    /// `init a [cluster=1]`: clients of `a` declare a new cluster of all nodes.
    Init(Name, Options),
    /// Asks a node something about a key, and names what else there is to say.
    Key(Name, String, Question, Options),
    /// `repeat #1 [b]`: the same operation once more, at this node.
    Repeat(u64, Option<Name>),
    /// `cancel #1`: its caller is gone.
    Cancel(u64),
    /// `hold a>c`: messages stay on their way.
    Hold(Vec<Way>),
    /// `deliver a>c [2]`: what is on its way arrives, or the first two messages of it.
    Deliver(Way, usize),
    /// `drop a>c [2]`
    Drop(Way, usize),
    /// `lose a>c`: messages are lost from now on.
    Lose(Vec<Way>),
    /// `mend a>c`: what was held arrives, and what comes is delivered at once.
    Mend(Vec<Way>),
    /// `cut a c`: the link is down.
    Cut(Name, Name),
    /// `join a c`: the link is up.
    Join(Name, Name),
    /// `members a masters=a,b,d [replicas=e,f] [patience=10s]`: an operator at `a` wants these from the next epoch on.
    Members(Name, Options),
    /// `node d`: a node that has never run.
    Node(Vec<Name>),
    /// `wipe c`: its disk is gone. Restarted, it is another node of the same name.
    Wipe(Name),
    /// `crash c`
    Crash(Vec<Name>),
    /// `restart c`
    Restart(Vec<Name>),
    /// `drain c`
    Drain(Name),
    /// `disk c slow` or `disk c fast`
    Disk(Name, bool),
    /// `advance 5s`
    Advance(Span),
    /// Shows what is there without touching it.
    Look(Look),
    /// `quiet` and `loud`: whether only what clients are told is written down, or what the nodes say and do, too.
    Quiet(bool),
}

/// What a client asks about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// `lock a job me ttl=30s [wait=10s] [delay=5s] [patience=10s] [meta=host] [long=60000]`
    Lock(String),
    /// `extend a job me ttl=30s`
    Extend(Claim),
    /// `update a job me you [meta=host]`
    Update(Claim, String),
    /// `release a job me`
    Release(Claim),
    /// `read a job`: by quorum.
    Read,
    /// `wait a job held`
    WaitHeld,
    /// `wait a job released`
    WaitReleased,
}

/// What can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// `local a job`: what this node knows.
    Local(Name, String),
    /// `status a`
    Status(Name),
    /// `home job`: where each node takes it to be.
    Home(String),
    /// `records`: how many each node keeps, and how many went.
    Records,
    /// `held`: what is on its way.
    Held,
}

impl Options {
    /// The span of this name.
    ///
    /// # Errors
    ///
    /// What is there is no span.
    pub fn span(&self, name: &str) -> Result<Option<Span>, String> {
        self.0.get(name).map(|text| span(text)).transpose()
    }

    /// The number of this name.
    ///
    /// # Errors
    ///
    /// What is there is no number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let parse = |text: &String| text.parse().map_err(|_| format!("{text} is no number"));
        self.0.get(name).map(parse).transpose()
    }

    /// The text of this name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The nodes of this name, with commas in between; none unless it was said.
    ///
    /// # Errors
    ///
    /// What is there names no nodes.
    pub fn nodes(&self, name: &str) -> Result<Vec<Name>, String> {
        self.text(name).map_or(Ok(Vec::new()), |text| text.split(',').map(self::name).collect())
    }

    /// Whether this was said at all.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// The words of a line that are not options, from left to right.
struct Words<'a>(std::vec::IntoIter<&'a str>);

impl<'a> Words<'a> {
    fn next(&mut self, what: &str) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| format!("{what} is missing"))
    }

    fn text(&mut self, what: &str) -> Result<String, String> {
        self.next(what).map(String::from)
    }

    fn node(&mut self) -> Result<Name, String> {
        name(self.next("a node")?)
    }

    fn nodes(&mut self) -> Result<Vec<Name>, String> {
        self.0.by_ref().map(name).collect()
    }

    fn claim(&mut self) -> Result<Claim, String> {
        let text = self.next("an owner")?;
        let (value, request) = match text.split_once('#') {
            Some((value, request)) => (value, Some(number(request)?)),
            None => (text, None),
        };
        let value = (!value.is_empty() && value != "any").then(|| String::from(value));
        Ok(Claim { value, request })
    }

    fn request(&mut self) -> Result<u64, String> {
        let text = self.next("a request")?;
        number(text.strip_prefix('#').ok_or_else(|| format!("{text} is no request, as #1 is"))?)
    }

    fn way(&mut self) -> Result<Way, String> {
        way(self.next("a way")?)
    }

    fn ways(&mut self) -> Result<Vec<Way>, String> {
        self.0.by_ref().map(way).collect()
    }

    fn count(&mut self) -> Result<usize, String> {
        self.0.next().map_or(Ok(usize::MAX), |text| text.parse().map_err(|_| bad(text)))
    }

    fn either(&mut self, yes: &str, no: &str) -> Result<bool, String> {
        let word = self.next(yes)?;
        if word == yes || word == no { Ok(word == yes) } else { Err(bad(word)) }
    }
}

/// What a line means; `None` for an empty one or a comment.
///
/// # Errors
///
/// What makes no sense in it.
pub fn parse(line: &str) -> Result<Option<Command>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (options, words): (Vec<&str>, Vec<&str>) =
        line.split_whitespace().partition(|word| word.contains('=') || *word == "founded");
    let option = |word: &str| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        (String::from(name), String::from(value))
    };
    let options = Options(options.into_iter().map(option).collect());
    let mut words = Words(words.into_iter());
    let verb = words.next("a command")?;
    let command = match client_command(verb, &mut words, options.clone()) {
        Some(command) => command?,
        None => world_command(verb, &mut words, options)?,
    };
    match words.0.next() {
        None => Ok(Some(command)),
        Some(word) => Err(bad(word)),
    }
}

/// What clients do.
fn client_command(
    verb: &str,
    words: &mut Words<'_>,
    options: Options,
) -> Option<Result<Command, String>> {
    let read = || -> Result<Option<Command>, String> {
        Ok(Some(match verb {
            "init" => Command::Init(words.node()?, options),
            "members" => Command::Members(words.node()?, options),
            "lock" | "extend" | "update" | "release" | "read" | "wait" => {
                let (node, key) = (words.node()?, words.text("a key")?);
                Command::Key(node, key, question(verb, words)?, options)
            }
            "repeat" => {
                let request = words.request()?;
                Command::Repeat(request, words.0.next().map(name).transpose()?)
            }
            "cancel" => Command::Cancel(words.request()?),
            _ => return Ok(None),
        }))
    };
    read().transpose()
}

/// What is asked, after the node and the key.
fn question(verb: &str, words: &mut Words<'_>) -> Result<Question, String> {
    Ok(match verb {
        "lock" => Question::Lock(words.text("a value")?),
        "extend" => Question::Extend(words.claim()?),
        "update" => Question::Update(words.claim()?, words.text("a value")?),
        "release" => Question::Release(words.claim()?),
        "read" => Question::Read,
        _ if words.either("held", "released")? => Question::WaitHeld,
        _ => Question::WaitReleased,
    })
}

/// What happens to the world, and what can be asked of it.
fn world_command(verb: &str, words: &mut Words<'_>, options: Options) -> Result<Command, String> {
    Ok(match verb {
        "cluster" => Command::Cluster(words.nodes()?, options),
        "hold" => Command::Hold(words.ways()?),
        "deliver" => Command::Deliver(words.way()?, words.count()?),
        "drop" => Command::Drop(words.way()?, words.count()?),
        "lose" => Command::Lose(words.ways()?),
        "mend" => Command::Mend(words.ways()?),
        "cut" => Command::Cut(words.node()?, words.node()?),
        "join" => Command::Join(words.node()?, words.node()?),
        "node" => Command::Node(words.nodes()?),
        "wipe" => Command::Wipe(words.node()?),
        "crash" => Command::Crash(words.nodes()?),
        "restart" => Command::Restart(words.nodes()?),
        "drain" => Command::Drain(words.node()?),
        "disk" => Command::Disk(words.node()?, words.either("slow", "fast")?),
        "advance" => Command::Advance(span(words.next("a span")?)?),
        "local" => Command::Look(Look::Local(words.node()?, words.text("a key")?)),
        "status" => Command::Look(Look::Status(words.node()?)),
        "home" => Command::Look(Look::Home(words.text("a key")?)),
        "records" => Command::Look(Look::Records),
        "held" => Command::Look(Look::Held),
        "quiet" => Command::Quiet(true),
        "loud" => Command::Quiet(false),
        _ => return Err(bad(verb)),
    })
}

fn bad(word: &str) -> String {
    format!("{word} makes no sense here")
}

fn name(text: &str) -> Result<Name, String> {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) => Ok(letter),
        _ => Err(format!("{text} is no node: they are called by one letter")),
    }
}

fn way(text: &str) -> Result<Way, String> {
    let (from, to) = text.split_once('>').ok_or_else(|| format!("{text} is no way, as a>b is"))?;
    Ok((name(from)?, name(to)?))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

/// A span, as `30s`, `1500ms` or `5us`.
///
/// # Errors
///
/// It is none.
pub fn span(text: &str) -> Result<Span, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let number = number(digits)?;
    match unit {
        "us" => Ok(Span::from_micros(number)),
        "ms" => Ok(Span::from_millis(number)),
        "s" => Ok(Span::from_secs(number)),
        _ => Err(format!("{text} is no span: us, ms or s is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_verb_words_and_options() {
        let Ok(Some(Command::Key('a', key, question, options))) = parse("lock a job me ttl=30s")
        else {
            panic!("a lock");
        };
        assert_eq!((key.as_str(), question), ("job", Question::Lock(String::from("me"))));
        assert_eq!(options.span("ttl"), Ok(Some(Span::from_secs(30))));
        assert_eq!(options.span("wait"), Ok(None));
        assert_eq!(parse("# lock"), Ok(None));
        assert_eq!(parse("hold a>b"), Ok(Some(Command::Hold(vec![('a', 'b')]))));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for line in ["lock a job", "jump a", "advance 5", "cut a>b c", "read a job job"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
