//! `leasehold watch`: one line for each change, until it is ended.
//!
//! It goes over the client's port, like every other command: the same endpoints, certificates and token, and the binary
//! needs no client for HTTP. A watch that was interrupted, because it lagged or its node went away, is begun again, says
//! so, and lists what is held then, so that whoever reads along knows again.

use std::io::{self, Write};
use std::process::ExitCode;

use leasehold_client::{Change, Client, Error, Listed, Noticed, WatchEnd};
use serde_json::{Map, Value};

use super::meant::{Action, Meant};
use super::typed::{ClientCommand, Global, List};
use super::words::{self, text, time};
use super::{access, json, render};

/// What `leasehold watch` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Watch {
    /// What the keys start with; all of them if not given
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
}

/// Watches until it cannot any more.
pub(crate) fn run(global: &Global, typed: Watch) -> ExitCode {
    // What can go wrong is the same as with a listing of the same keys.
    let listing = ClientCommand::List(List { prefix: typed.prefix });
    let shown = match Meant::new(global, listing)
        .and_then(|meant| Ok((meant, access::options(global)?)))
    {
        Ok((meant, options)) => {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let options = options.timeout(meant.timeout).direct(false);
                    let watching = async {
                        let client = Client::connect(meant.endpoints.clone(), options).await?;
                        watch(&client, &meant.action, global).await
                    };
                    match runtime.block_on(watching) {
                        // Whoever read along has seen enough.
                        Ok(_closed) => return ExitCode::SUCCESS,
                        Err(error) => {
                            let words = words::error(&meant.action, &error);
                            let object = json::error("watch", Some(&meant.action), &error, &words);
                            render::complaint(&object, &words, render::error_code(&error), global)
                        }
                    }
                }
                Err(error) => render::broken("watch", &format!("cannot start: {error}"), global),
            }
        }
        Err(wrong) => render::misused("watch", &wrong, global),
    };
    super::show(&shown);
    ExitCode::from(shown.code)
}

/// Shows what changes. Comes to an end when nobody reads any more, or when the watch cannot be begun again.
async fn watch(client: &Client, action: &Action, global: &Global) -> Result<io::Error, Error> {
    let Action::List { prefix } = action else {
        return Err(Error::Invalid(leasehold_client::Fault::KeyEmpty));
    };
    let mut watch = client.watch(prefix.as_str()).await?;
    if let Err(closed) = say("watching", Map::new(), "watching", global) {
        return Ok(closed);
    }
    loop {
        let said = match watch.next().await {
            Ok(noticed) => tell(&noticed, global),
            Err(WatchEnd::NotDone(reason)) => return Err(Error::NotDone(reason)),
            Err(WatchEnd::NotAllowed(why)) => return Err(Error::NotAllowed(why)),
            Err(end @ (WatchEnd::Lagged | WatchEnd::Disconnected)) => {
                let name = if end == WatchEnd::Lagged { "lagged" } else { "interrupted" };
                let words = format!("{name}: {end}; what is held now follows");
                if let Err(closed) = say(name, Map::new(), &words, global) {
                    return Ok(closed);
                }
                watch = client.watch(prefix.as_str()).await?;
                let listed = super::perform::list(client, prefix).await?;
                listed.iter().try_for_each(|listed| tell_listed(listed, global))
            }
        };
        if let Err(closed) = said {
            return Ok(closed);
        }
    }
}

fn tell(noticed: &Noticed, global: &Global) -> io::Result<()> {
    let mut object = Map::new();
    json::bytes(&mut object, "key", &noticed.key);
    object.insert("token".to_owned(), noticed.token.0.into());
    let (key, token) = (text(&noticed.key), noticed.token);
    let (name, words) = match &noticed.change {
        Change::Held(Some(holder)) => {
            json::holder(&mut object, holder);
            let (value, remaining) = (text(&holder.value), time(holder.remaining));
            ("held", format!("held      {key}  token {token}  {remaining}  {value}"))
        }
        Change::Held(None) => ("held", format!("held      {key}  token {token}")),
        Change::Released => ("released", format!("released  {key}  token {token}")),
        Change::Expired => ("expired", format!("expired   {key}  token {token}")),
    };
    say(name, object, &words, global)
}

fn tell_listed(Listed { key, holder }: &Listed, global: &Global) -> io::Result<()> {
    let mut object = Map::new();
    json::bytes(&mut object, "key", key);
    json::holder(&mut object, holder);
    let (key, token, value) = (text(key), holder.token, text(&holder.value));
    let remaining = time(holder.remaining);
    say("listed", object, &format!("listed    {key}  token {token}  {remaining}  {value}"), global)
}

/// One line, at once.
fn say(event: &str, more: Map<String, Value>, words: &str, global: &Global) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if global.json {
        let mut object = Map::new();
        object.insert("op".to_owned(), "watch".into());
        object.insert("event".to_owned(), event.into());
        object.extend(more);
        writeln!(out, "{}", Value::Object(object))?;
    } else {
        writeln!(out, "{words}")?;
    }
    out.flush()
}
