//! How a client behaves.

use std::time::Duration;

use crate::tls::{Secret, Tls};

/// How a client behaves; every setting has a default.
///
/// ```
/// use std::time::Duration;
/// let options = leasehold_client::Options::new().timeout(Duration::from_secs(3)).name("billing");
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) name: String,
    pub(crate) timeout: Duration,
    pub(crate) dial: Duration,
    pub(crate) beat: Duration,
    pub(crate) silence: Duration,
    pub(crate) direct: bool,
    pub(crate) tls: Option<Tls>,
    pub(crate) token: Option<Secret>,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// The defaults: calls take at most 10 s, a connection that is silent for 2 s is given up. After two thirds of a second of
    /// silence another node is asked as well.
    #[must_use]
    pub fn new() -> Self {
        Self {
            name: format!("leasehold-client/{}", std::process::id()),
            timeout: Duration::from_secs(10),
            dial: Duration::from_secs(3),
            beat: Duration::from_millis(500),
            silence: Duration::from_secs(2),
            direct: true,
            tls: None,
            token: None,
        }
    }

    /// What nodes call this client in their logs.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long a call may take that does not say so itself, time to reconnect and to send again included.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long connecting to one endpoint may take, until the node has welcomed the client.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.dial = timeout;
        self
    }

    /// How often a sign of life is exchanged, and after how long a silence a connection counts as dead.
    #[must_use]
    pub const fn heartbeat(mut self, every: Duration, silence: Duration) -> Self {
        self.beat = every;
        self.silence = silence;
        self
    }

    /// After how long a silence a sign of life is overdue, and others are asked beside: a third later than one should
    /// come, and not before a third of what it takes to give the connection up.
    pub(crate) fn due(&self) -> Duration {
        let beat = self.beat.saturating_add(self.beat / 3);
        beat.max(self.silence / 3).min(self.silence)
    }

    /// Whether to connect to the masters as well as to the endpoints and send each key to its home, which saves
    /// a hop. On by default; a program that does one thing and ends does better without.
    #[must_use]
    pub const fn direct(mut self, direct: bool) -> Self {
        self.direct = direct;
        self
    }

    /// Talks to the nodes over TLS only. Without it nothing is encrypted.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The secret token that tells nodes who this client is. It travels in the greeting, so give it together with
    /// [`Options::tls`] wherever others can listen.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Secret(token.into()));
        self
    }
}
