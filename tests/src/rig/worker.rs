//! A client process: some clients that lock, keep, change, read and give up keys, as a seed has it, and write down what
//! came of it before they go on.
//!
//! They keep to the contract: what they believe ends on their own clock, by the client crate's word, and a release is sent by
//! whoever believes, whose belief is over before. Several clients share one value, so that values do not name owners; those
//! release by token.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold_client::{
    Client, Error, Extended, Guard, Holder, Lease, Options, Refusal, Released, Token, clock,
};
use leasehold_core::{Instant, Span};
use leasehold_sim::dice::{Dice, Roll, Stream};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use super::judge::owner;
use super::record::{Asked, By, Line, Record, Said};

/// What a client process is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Its number.
    pub process: usize,
    /// Clients in it.
    pub clients: usize,
    /// What decides what they try.
    pub seed: u64,
    /// Where nodes listen.
    pub endpoints: Vec<String>,
    /// Where it writes.
    pub record: PathBuf,
    /// What it does.
    pub habits: Habits,
}

/// What clients do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Habits {
    /// What their keys begin with.
    pub prefix: String,
    /// Keys that are used all the time.
    pub hot: usize,
    /// A key for short histories is used for so long, in microseconds; zero: there are none.
    pub brief: u64,
    /// The shortest and the longest lease, in microseconds.
    pub lease: (u64, u64),
    /// The longest lock-delay, in microseconds.
    pub delay: u64,
    /// The longest wait for a key, in microseconds.
    pub wait: u64,
    /// The longest pause between two calls, in microseconds.
    pub pause: u64,
    /// How long calls may take, in microseconds.
    pub timeout: u64,
    /// Of a hundred owners so many let their lease run out.
    pub walk_away: u64,
}

/// Runs clients until standard input ends.
///
/// # Errors
///
/// The operating system's.
pub async fn run(plan: Plan) -> io::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let record = Arc::new(Record::begin(&plan.record)?);
    let calls = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for number in 0..plan.clients {
        let mut person = Person {
            number: plan.process * 100 + number,
            shares: number % 3 == 2,
            dice: Dice::new(plan.seed),
            decisions: 0,
            record: Arc::clone(&record),
            calls: Arc::clone(&calls),
            plan: plan.clone(),
            stopped: stopped.clone(),
        };
        tasks.push(tokio::spawn(async move { person.live().await }));
    }
    let mut input = tokio::io::stdin();
    let mut end = [0; 16];
    while input.read(&mut end).await? > 0 {}
    stop.send_replace(true);
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    Ok(())
}

/// A lock that was acquired, and is held as far as may be believed.
struct Session {
    key: String,
    lease: Lease,
    /// What the key holds, if that is known and names this owner alone.
    value: Option<String>,
}

struct Person {
    number: usize,
    shares: bool,
    dice: Dice,
    decisions: u64,
    record: Arc<Record>,
    calls: Arc<AtomicU64>,
    plan: Plan,
    stopped: watch::Receiver<bool>,
}

impl Person {
    fn roll(&mut self) -> Roll {
        self.decisions += 1;
        self.dice.roll(Stream::Client(self.number), self.decisions)
    }

    async fn live(&mut self) -> io::Result<()> {
        let timeout = Duration::from_micros(self.plan.habits.timeout);
        let options = Options::new().timeout(timeout).name(format!("c{}", self.number));
        // A third talks through the first endpoint that it reaches instead of asking homes.
        let options = options.direct(self.number % 3 != 1);
        let mut endpoints = self.plan.endpoints.clone();
        let first = self.number % endpoints.len().max(1);
        endpoints.rotate_left(first);
        let client = loop {
            if *self.stopped.borrow() {
                return Ok(());
            }
            match Client::connect(endpoints.clone(), options.clone()).await {
                Ok(client) => break client,
                Err(_) => clock::sleep_until(clock::now().after(Span::from_millis(100))).await,
            }
        };
        let mut session = None;
        while !*self.stopped.borrow() {
            session = match session.take() {
                Some(session) => self.as_owner(&client, session).await?,
                None => self.as_anybody(&client).await?,
            };
            self.rest(session.as_ref()).await;
        }
        Ok(())
    }

    /// Does nothing for a while; an owner often until just before its belief ends, or just after.
    async fn rest(&mut self, session: Option<&Session>) {
        let mut roll = self.roll();
        let longest = self.plan.habits.pause;
        let pause = roll.magnitude((longest / 50).max(20), longest);
        let now = clock::now();
        let until = match session.map(|session| session.lease.valid_until()) {
            Some(end) if roll.below(10) < 2 => {
                let left = end.since(now).as_micros();
                now.after(Span::from_micros(
                    left - roll.magnitude(100, (left / 4).max(200)).min(left),
                ))
            }
            Some(end) if roll.one_in(10) => {
                end.after(Span::from_micros(roll.magnitude(10, 50_000)))
            }
            Some(_) | None => now.after(Span::from_micros(pause)),
        };
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = clock::sleep_until(until) => {}
            _ = stopped.changed() => {}
        }
    }

    fn key(&mut self, roll: &mut Roll) -> String {
        let habits = &self.plan.habits;
        if habits.brief > 0 && roll.one_in(3) {
            let turn = clock::now().as_micros() / habits.brief;
            return format!("{}/brief/{turn}", habits.prefix);
        }
        // Two of three times the first one, where the others are, too.
        let number = if roll.one_in(3) { roll.index(habits.hot.max(1)) } else { 0 };
        format!("{}/hot/{number}", habits.prefix)
    }

    fn lease(&self, roll: &mut Roll) -> Duration {
        let (low, high) = self.plan.habits.lease;
        Duration::from_micros(roll.magnitude(low, high))
    }

    /// Writes down that a call begins.
    fn call(&self, key: &str, asked: Asked) -> io::Result<u64> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let (key, client) = (key.to_owned(), self.number);
        let at = clock::now().as_micros();
        self.record.write(&Line::Call { call, client, key, at, asked })?;
        Ok(call)
    }

    /// Writes down what a call came to.
    fn answer(&self, call: u64, said: Said) -> io::Result<()> {
        self.record.write(&Line::Answer { call, at: clock::now().as_micros(), said })
    }

    fn believe(&self, key: &str, token: Token, until: Instant) -> io::Result<()> {
        let (key, from) = (key.to_owned(), clock::now().as_micros());
        let (token, until) = (token.0, until.as_micros());
        self.record.write(&Line::Belief { client: self.number, key, token, from, until })
    }

    fn disbelieve(&self, key: &str, token: Token) -> io::Result<()> {
        let (key, at) = (key.to_owned(), clock::now().as_micros());
        self.record.write(&Line::Over { client: self.number, key, token: token.0, at })
    }

    async fn as_anybody(&mut self, client: &Client) -> io::Result<Option<Session>> {
        let mut roll = self.roll();
        let key = self.key(&mut roll);
        match roll.below(100) {
            0..=14 => {
                let call = self.call(&key, Asked::Read)?;
                let said = match client.read(key).await {
                    Ok(Some(holder)) => held(&holder),
                    Ok(None) => Said::Free,
                    Err(error) => Said::Nothing(error.to_string()),
                };
                self.answer(call, said)?;
                Ok(None)
            }
            15..=19 => {
                // What one node knows by itself is not judged; it is asked so that it has something to do.
                let patience = Duration::from_micros(roll.magnitude(1_000, 200_000));
                if roll.one_in(2) {
                    drop(client.wait_held(key, patience).await);
                } else {
                    drop(client.wait_released(key, patience).await);
                }
                Ok(None)
            }
            20..=29 => self.with_a_guard(client, key, &mut roll).await,
            _ => self.lock(client, key, &mut roll).await,
        }
    }

    async fn lock(
        &mut self,
        client: &Client,
        key: String,
        roll: &mut Roll,
    ) -> io::Result<Option<Session>> {
        let habits = &self.plan.habits;
        let own = format!("c{}.{}", self.number, self.decisions);
        let value = if self.shares { "shared".to_owned() } else { own.clone() };
        let ttl = self.lease(roll);
        let delay = if habits.delay > 0 && roll.one_in(4) { roll.below(habits.delay) } else { 0 };
        let asked = Asked::Lock { value: value.clone(), meta: own.clone(), delay };
        let mut lock = client.lock(key.as_str()).value(value.as_str()).label("op", own).ttl(ttl);
        lock = lock.delay(Duration::from_micros(delay));
        if habits.wait > 0 && roll.below(10) < 6 {
            lock = lock.wait(Duration::from_micros(roll.magnitude(1_000, habits.wait)));
        }
        let call = self.call(&key, asked)?;
        match lock.lease().await {
            Ok(lease) => {
                let (token, until) = (lease.token(), lease.valid_until());
                self.believe(&key, token, until)?;
                self.answer(call, Said::Done { token: token.0, until: until.as_micros() })?;
                let value = (!self.shares).then_some(value);
                Ok(Some(Session { key, lease, value }))
            }
            Err(error) => {
                self.answer(call, failed(&error, None))?;
                Ok(None)
            }
        }
    }

    /// Holds a key for a while by a guard, which keeps it by itself, and looks at what it says.
    async fn with_a_guard(
        &mut self,
        client: &Client,
        key: String,
        roll: &mut Roll,
    ) -> io::Result<Option<Session>> {
        let own = format!("c{}.{}", self.number, self.decisions);
        let (ttl, wait) =
            (self.lease(roll), roll.magnitude(1_000, self.plan.habits.wait.max(1_000)));
        let lock = client.lock(key.as_str()).value(own.as_str()).label("op", own.as_str()).ttl(ttl);
        let lock = lock.wait(Duration::from_micros(wait));
        let call = self.call(&key, Asked::Lock { value: own.clone(), meta: own, delay: 0 })?;
        let guard: Guard = match lock.await {
            Ok(guard) => guard,
            Err(error) => {
                self.answer(call, failed(&error, None))?;
                return Ok(None);
            }
        };
        let (token, until) = (guard.token(), guard.valid_until());
        self.believe(&key, token, until)?;
        self.answer(call, Said::Done { token: token.0, until: until.as_micros() })?;
        let looks = roll.below(8);
        for _ in 0..looks {
            let pause = Span::from_micros(roll.magnitude(1_000, 400_000));
            clock::sleep_until(clock::now().after(pause)).await;
            let until = guard.valid_until();
            if !guard.is_held() || *self.stopped.borrow() {
                break;
            }
            self.believe(&key, token, until)?;
        }
        self.disbelieve(&key, token)?;
        let by = By { value: None, token: Some(token.0) };
        let call = self.call(&key, Asked::Release(by))?;
        let said = released(guard.release().await, Some(token));
        self.answer(call, said)?;
        Ok(None)
    }

    async fn as_owner(&mut self, client: &Client, session: Session) -> io::Result<Option<Session>> {
        let mut roll = self.roll();
        let away = self.plan.habits.walk_away;
        let what = roll.below(100);
        if what < away {
            return Ok(None);
        }
        match what.saturating_sub(away) {
            0..=39 => self.extend(client, session, &mut roll).await,
            40..=51 => self.update(session).await,
            52..=59 => {
                let call = self.call(&session.key, Asked::Read)?;
                let said = match client.read(session.key.as_str()).await {
                    Ok(Some(holder)) => held(&holder),
                    Ok(None) => Said::Free,
                    Err(error) => Said::Nothing(error.to_string()),
                };
                self.answer(call, said)?;
                Ok(Some(session))
            }
            _ => self.release(client, session, &mut roll).await,
        }
    }

    async fn extend(
        &mut self,
        client: &Client,
        mut session: Session,
        roll: &mut Roll,
    ) -> io::Result<Option<Session>> {
        let (ttl, token) = (self.lease(roll), session.lease.token());
        let by_value = session.value.clone().filter(|_| roll.one_in(4));
        let by = match &by_value {
            Some(value) => By { value: Some(value.clone()), token: None },
            None => By { value: None, token: Some(token.0) },
        };
        let call = self.call(&session.key, Asked::Extend(by.clone()))?;
        let extended: Result<Extended, Error> = if by_value.is_some() {
            client.extend(session.key.as_str(), owner(&by), ttl).await
        } else {
            session.lease.extend(ttl).await
        };
        match extended {
            Ok(Extended { token, valid_until, .. }) => {
                self.believe(&session.key, token, valid_until)?;
                self.answer(call, Said::Done { token: token.0, until: valid_until.as_micros() })?;
                Ok(Some(session))
            }
            Err(error) => {
                self.answer(call, failed(&error, None))?;
                Ok((!matches!(error, Error::Refused(_))).then_some(session))
            }
        }
    }

    async fn update(&mut self, mut session: Session) -> io::Result<Option<Session>> {
        let value = format!("c{}u{}", self.number, self.decisions);
        let by = By { value: None, token: Some(session.lease.token().0) };
        let asked = Asked::Update { by, value: value.clone() };
        let call = self.call(&session.key, asked)?;
        match session.lease.update(value.as_str(), None).await {
            Ok(updated) => {
                self.answer(call, Said::Done { token: updated.token.0, until: 0 })?;
                session.value = Some(value);
                Ok(Some(session))
            }
            Err(error) => {
                self.answer(call, failed(&error, None))?;
                session.value = None;
                Ok((!matches!(error, Error::Refused(_))).then_some(session))
            }
        }
    }

    async fn release(
        &mut self,
        client: &Client,
        session: Session,
        roll: &mut Roll,
    ) -> io::Result<Option<Session>> {
        let Session { key, lease, value } = session;
        let token = lease.token();
        self.disbelieve(&key, token)?;
        let by_value = value.filter(|_| roll.one_in(4));
        let by = match &by_value {
            Some(value) => By { value: Some(value.clone()), token: None },
            None => By { value: None, token: Some(token.0) },
        };
        let call = self.call(&key, Asked::Release(by.clone()))?;
        let said = if by_value.is_some() {
            released(client.release(key, owner(&by)).await, None)
        } else {
            released(lease.release().await, Some(token))
        };
        self.answer(call, said)?;
        Ok(None)
    }
}

fn held(holder: &Holder) -> Said {
    let value = String::from_utf8_lossy(&holder.value).into_owned();
    let meta = holder.labels.get("op").cloned().unwrap_or_default();
    Said::Held { token: holder.token.0, value, meta }
}

/// What a call that failed says. `token`: what was to be released by it.
fn failed(error: &Error, token: Option<Token>) -> Said {
    match error {
        // The sending before the one that was answered may still release it.
        Error::Refused(Refusal::Held(holder)) if token == Some(holder.token) => {
            Said::Unknown(error.to_string())
        }
        Error::Refused(Refusal::Held(holder)) => held(holder),
        Error::Refused(Refusal::NotHeld) => Said::Free,
        Error::Unknown(_) => Said::Unknown(error.to_string()),
        Error::Refused(Refusal::Declined(_) | Refusal::AlreadyFounded { .. })
        | Error::NotDone(_)
        | Error::NotAllowed(_)
        | Error::Unreachable(_)
        | Error::TimedOut
        | Error::Invalid(_) => Said::Nothing(error.to_string()),
    }
}

fn released(released: Result<Released, Error>, token: Option<Token>) -> Said {
    match released {
        Ok(Released { token: Some(token), confirmed: true, .. }) => {
            Said::Done { token: token.0, until: 0 }
        }
        Ok(_) => Said::Unknown("released by it, or over before".into()),
        Err(error) => failed(&error, token),
    }
}
