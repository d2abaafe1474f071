//! Who may do what: secret tokens, and the rules that each comes with.
//!
//! A token is a long random text, of which only the hash is stored; hashes are compared in constant time. A rule gives
//! *verbs* for the keys that start with a prefix. What no rule allows is refused, at the node where the caller is
//! connected, before anything else looks at it.
//!
//! Without a file of tokens everybody who can connect may do everything. A node that listens beyond loopback does not
//! start like that, unless it is told that it is to be insecure.
//!
//! The file is read again when it changes, and every connection is judged anew then: whose token is gone, goes.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// To see who holds a key and who waits for it, and to wait until it is held or released.
    Read,
    /// To acquire a key, and to extend, update and release what one can name by value or token.
    Lock,
    /// To extend, update and release whoever's it is.
    Force,
    /// To found the cluster and to change its members; keys do not matter for this.
    Admin,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Lock, Self::Force, Self::Admin];

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Lock => "lock",
            Self::Force => "force",
            Self::Admin => "admin",
        }
    }
}

/// What is allowed for some keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What the keys start with; empty for all keys.
    pub prefix: String,
    /// What is allowed.
    pub verbs: BTreeSet<Verb>,
}

/// A token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it is called in logs and refusals.
    pub name: String,
    /// The SHA-256 hash of the token, in hexadecimal digits.
    pub sha256: String,
    /// What its bearer may do.
    pub rules: Vec<Rule>,
}

impl Entry {
    /// Stores `token` under a name.
    #[must_use]
    pub fn new(name: String, token: &str, rules: Vec<Rule>) -> Self {
        let hex = |byte: u8| format!("{byte:02x}");
        Self { name, sha256: hash(token).into_iter().map(hex).collect(), rules }
    }
}

/// The file of tokens.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

/// Entries as the text of a file of tokens, to be appended to others.
///
/// # Errors
///
/// If TOML cannot say this.
pub fn write(entries: Vec<Entry>) -> Result<String, String> {
    toml::to_string(&File { token: entries }).map_err(|error| error.to_string())
}

/// Why the file of tokens cannot be used.
#[derive(Debug)]
pub struct AuthError {
    path: PathBuf,
    why: String,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "auth.tokens = {:?}: {}; `leasehold token` makes entries",
            self.path.display(),
            self.why.trim_end()
        )
    }
}

impl std::error::Error for AuthError {}

type Hash = [u8; 32];

fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

/// All tokens, by their hashes.
#[derive(Debug, Default)]
struct Book {
    text: String,
    tokens: Vec<(Hash, Arc<Entry>)>,
}

impl Book {
    fn read(path: &Path) -> Result<Self, AuthError> {
        let wrong = |why: String| AuthError { path: path.to_owned(), why };
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let file: File = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let mut tokens: Vec<(Hash, Arc<Entry>)> = Vec::with_capacity(file.token.len());
        for entry in file.token {
            let hash = digits(&entry.sha256).ok_or_else(|| {
                wrong(format!("token {:?}: sha256 is not 64 hexadecimal digits", entry.name))
            })?;
            if let Some((_, other)) =
                tokens.iter().find(|(h, other)| *h == hash || other.name == entry.name)
            {
                return Err(wrong(format!(
                    "tokens {:?} and {:?} have the same name or hash",
                    other.name, entry.name
                )));
            }
            tokens.push((hash, Arc::new(entry)));
        }
        Ok(Self { text, tokens })
    }

    /// Looks at every hash, whichever it is.
    fn find(&self, hash: &Hash) -> Option<&Arc<Entry>> {
        let mut found = None;
        for (stored, entry) in &self.tokens {
            if bool::from(stored.ct_eq(hash)) {
                found = Some(entry);
            }
        }
        found
    }
}

fn digits(hex: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if hex.len() != 2 * hash.len() || !hex.is_ascii() {
        return None;
    }
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// Judges callers.
#[derive(Debug)]
pub(crate) struct Gate {
    path: Option<PathBuf>,
    book: RwLock<Arc<Book>>,
    /// Counts the versions of the book.
    edition: AtomicU64,
}

impl Gate {
    /// With the tokens in this file, or open to everybody.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, AuthError> {
        let book = path.map(Book::read).transpose()?.unwrap_or_default();
        let path = path.map(Path::to_owned);
        Ok(Self { path, book: RwLock::new(Arc::new(book)), edition: AtomicU64::new(0) })
    }

    /// Reads the file again. Whether it changed; if it cannot be used, what was there stays.
    pub(crate) fn reload(&self) -> Result<bool, AuthError> {
        let Some(path) = &self.path else { return Ok(false) };
        let new = Book::read(path)?;
        if new.text == self.book().text {
            return Ok(false);
        }
        *self.book.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        self.edition.fetch_add(1, Ordering::Release);
        Ok(true)
    }

    fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets a caller in who shows a token that is known, or anybody if there are no tokens.
    ///
    /// # Errors
    ///
    /// What is wrong, in words for the caller and the log. Of the credential it says nothing.
    pub(crate) fn admit(self: &Arc<Self>, credential: Option<&str>) -> Result<Pass, String> {
        let edition = self.edition.load(Ordering::Acquire);
        let (hash, entry) = if self.path.is_none() {
            (Hash::default(), None)
        } else {
            let credential = credential
                .ok_or("this node wants a token; give one with --token-file, or Options::token")?;
            let hash = hash(credential);
            let entry = self.book().find(&hash).map(Arc::clone);
            (hash, Some(entry.ok_or("this node does not know that token")?))
        };
        Ok(Pass { gate: Arc::clone(self), edition, hash, entry })
    }
}

/// A caller that was let in.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    edition: u64,
    hash: Hash,
    /// None where everybody may do everything.
    entry: Option<Arc<Entry>>,
}

impl Pass {
    /// Looks again if the tokens have changed.
    ///
    /// # Errors
    ///
    /// If the caller would not be let in any more.
    pub(crate) fn renew(&mut self) -> Result<(), String> {
        let edition = self.gate.edition.load(Ordering::Acquire);
        if edition != self.edition && self.entry.is_some() {
            let entry = self.gate.book().find(&self.hash).map(Arc::clone);
            self.entry = Some(entry.ok_or("this token was withdrawn")?);
            self.edition = edition;
        }
        Ok(())
    }

    /// Whether nothing needs to be asked.
    pub(crate) const fn is_open(&self) -> bool {
        self.entry.is_none()
    }

    /// Whether the caller may do this with the key, or with all keys that start with it.
    ///
    /// # Errors
    ///
    /// What the caller lacks, in words.
    pub(crate) fn may(&self, verb: Verb, key: &[u8]) -> Result<(), String> {
        let Some(entry) = &self.entry else { return Ok(()) };
        let gives = |rule: &&Rule| {
            let keys = verb == Verb::Admin || key.starts_with(rule.prefix.as_bytes());
            keys && rule.verbs.contains(&verb)
        };
        if entry.rules.iter().any(|rule| gives(&rule)) {
            return Ok(());
        }
        let (name, verb) = (&entry.name, verb.name());
        Err(if verb == Verb::Admin.name() {
            format!("the token `{name}` does not give the right `{verb}`")
        } else {
            format!(
                "the token `{name}` does not give the right `{verb}` for `{}`",
                key.escape_ascii()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str, verbs: &[Verb]) -> Rule {
        Rule { prefix: prefix.into(), verbs: verbs.iter().copied().collect() }
    }

    fn gate(entries: Vec<Entry>) -> (tempfile::TempDir, Arc<Gate>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        fs::write(&path, write(entries).unwrap()).unwrap();
        (folder, Arc::new(Gate::load(Some(&path)).unwrap()))
    }

    fn ci() -> Entry {
        let rules = vec![rule("ci/", &[Verb::Read, Verb::Lock]), rule("", &[Verb::Read])];
        Entry::new("ci".into(), "secret", rules)
    }

    #[test]
    fn a_token_opens_what_its_rules_say_and_nothing_else() {
        let (_folder, gate) = gate(vec![ci()]);
        let pass = gate.admit(Some("secret")).unwrap();
        assert!(pass.may(Verb::Lock, b"ci/job").is_ok());
        assert!(pass.may(Verb::Read, b"other").is_ok());
        for (verb, key) in [
            (Verb::Lock, &b"ci"[..]),
            (Verb::Lock, b"other"),
            (Verb::Force, b"ci/job"),
            (Verb::Admin, b""),
        ] {
            let why = pass.may(verb, key).unwrap_err();
            assert!(why.contains("`ci`") && why.contains(verb.name()), "{why}");
        }
    }

    #[test]
    fn only_known_tokens_are_let_in() {
        let (_folder, gate) = gate(vec![ci()]);
        for credential in [None, Some(""), Some("Secret"), Some(ci().sha256.as_str())] {
            let why = gate.admit(credential).unwrap_err();
            assert!(why.contains("token") && !why.contains("Secret"), "{why}");
        }
        let open = Arc::new(Gate::load(None).unwrap());
        let anybody = open.admit(None).unwrap();
        assert!(Verb::ALL.iter().all(|verb| anybody.may(*verb, b"k").is_ok()));
    }

    #[test]
    fn the_file_holds_no_token() {
        let text = write(vec![ci()]).unwrap();
        assert!(!text.contains("secret") && text.contains(&ci().sha256), "{text}");
    }

    #[test]
    fn a_changed_file_changes_what_those_may_who_are_in() {
        let (folder, gate) = gate(vec![ci()]);
        let mut pass = gate.admit(Some("secret")).unwrap();
        assert!(!gate.reload().unwrap());
        let path = folder.path().join("tokens.toml");
        let less = Entry { rules: vec![rule("", &[Verb::Read])], ..ci() };
        fs::write(&path, write(vec![less]).unwrap()).unwrap();
        assert!(gate.reload().unwrap());
        pass.renew().unwrap();
        assert!(pass.may(Verb::Lock, b"ci/job").is_err());
        // What cannot be used changes nothing.
        fs::write(&path, "[[token]]\nname = 1").unwrap();
        assert!(gate.reload().unwrap_err().to_string().contains("tokens.toml"));
        pass.renew().unwrap();
        fs::write(&path, "").unwrap();
        assert!(gate.reload().unwrap());
        assert!(pass.renew().unwrap_err().contains("withdrawn"));
        assert!(gate.admit(Some("secret")).is_err());
    }

    #[test]
    fn a_file_that_could_be_misread_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let good = write(vec![ci()]).unwrap();
        let bad = [
            good.replace(&ci().sha256, "abc"),
            good.replace("\"lock\"", "\"loc\""),
            good.replace("prefix", "prefixes"),
            format!("{good}{good}"),
            good.replace("[[token]]", "[[tokens]]"),
        ];
        for text in bad {
            assert_ne!(text, good);
            fs::write(&path, &text).unwrap();
            Gate::load(Some(&path)).map(drop).unwrap_err();
        }
    }
}
