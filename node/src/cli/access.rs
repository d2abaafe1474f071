//! How a command says who it is, and whom it trusts.

use std::fs;
use std::path::Path;

use leasehold_client::{Options, Tls};

use super::typed::Global;

/// How to connect, as far as the flags that all commands share say it.
///
/// # Errors
///
/// What is wrong with the files that were named.
pub(crate) fn options(global: &Global) -> Result<Options, String> {
    let mut options = Options::new().name(format!("leasehold-cli/{}", std::process::id()));
    if let Some(path) = &global.cacert {
        let wrong = |error| format!("--cacert {}: {error}", path.display());
        let mut tls = Tls::trusting(&read("--cacert", path)?).map_err(wrong)?;
        if let (Some(cert), Some(key)) = (&global.cert, &global.key_file) {
            let wrong = |error| format!("--cert {}: {error}", cert.display());
            tls = tls.identity(&read("--cert", cert)?, &read("--key", key)?).map_err(wrong)?;
        }
        options = options.tls(tls);
    } else if global.cert.is_some() {
        return Err("--cert and --key are of no use without --cacert".to_owned());
    }
    if let Some(path) = &global.token_file {
        let text = String::from_utf8(read("--token-file", path)?);
        let token = text.map_err(|_| format!("--token-file {}: no text", path.display()))?;
        options = options.token(token.trim());
    }
    Ok(options)
}

fn read(flag: &str, path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{flag} {}: {error}", path.display()))
}
