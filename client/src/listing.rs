//! What is held, page by page.

use leasehold_core::{Bytes, Cursor, Key};

use crate::answer::Holder;
use crate::client::Client;
use crate::error::{Error, Reason};
use crate::question::{Question, Reply};

/// How many keys a page shows at most.
const PAGE: u32 = 1_000;

/// A held key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: Key,
    /// Who holds it.
    pub holder: Holder,
}

/// A listing under way; see [`Client::list`].
#[derive(Debug)]
#[must_use = "asks nothing until the first page is awaited"]
pub struct Listing {
    client: Client,
    prefix: Bytes,
    /// Where the next page starts; none after the last.
    next: Option<Cursor>,
}

impl Listing {
    pub(crate) const fn new(client: Client, prefix: Bytes) -> Self {
        Self { client, prefix, next: Some(Cursor::START) }
    }

    /// More of what is held, or `None` at the end. Order says nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotDone`] with [`Reason::RecordsReplaced`] if the listing cannot go on, because another node answers now
    /// or this one has taken over other records: start anew. Else [`Error::NotDone`] or [`Error::Unreachable`].
    pub async fn next_page(&mut self) -> Result<Option<Vec<Listed>>, Error> {
        // A node answers with an empty page where it has looked at enough for once.
        while let Some(from) = self.next {
            let question = Question::List { prefix: self.prefix.clone(), from, most: PAGE };
            let Reply::Page(page) = self.client.put(question).await? else {
                return Err(Error::NotDone(Reason::Nonsense));
            };
            let page = page.ok_or(Error::NotDone(Reason::RecordsReplaced))?;
            self.next = page.next;
            if !page.holders.is_empty() {
                let listed = |(key, holder)| Listed { key, holder: Holder::from(holder) };
                return Ok(Some(page.holders.into_iter().map(listed).collect()));
            }
        }
        Ok(None)
    }

    /// All that is left.
    ///
    /// # Errors
    ///
    /// Those of [`Listing::next_page`].
    pub async fn all(mut self) -> Result<Vec<Listed>, Error> {
        let mut all = Vec::new();
        while let Some(page) = self.next_page().await? {
            all.extend(page);
        }
        Ok(all)
    }
}
