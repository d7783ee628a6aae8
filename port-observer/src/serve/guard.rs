//! Who may ask: names of this host, origins, tokens.

use std::{
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::{Context as _, Result, bail};
use axum::http::{HeaderMap, Method, StatusCode, header, uri::Authority};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use nix::{fcntl::OFlag, sys::stat::fstat};

use crate::own_file::check_own;

/// The shortest token that is taken.
const SHORTEST: usize = 16;
/// The most bytes of a file of tokens.
const FILE_BYTES: u64 = 64 << 10;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: StatusCode,
    /// What whoever asked can do.
    pub advice: &'static str,
}

/// The tokens that let in, as their file has them: one a line.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    known: RwLock<Vec<String>>,
}

impl Tokens {
    /// Reads them.
    ///
    /// # Errors
    /// When the file can't be read, others can write or read it, or there is none in it that is long enough.
    pub fn read(path: PathBuf) -> Result<Arc<Self>> {
        let known = read(&path)?;
        Ok(Arc::new(Self { path, known: RwLock::new(known) }))
    }

    /// Reads them again; those that were read before stay when that fails.
    ///
    /// # Errors
    /// As for [`Tokens::read`].
    pub fn read_again(&self) -> Result<()> {
        let known = read(&self.path)?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// The first, for who shows one.
    pub fn first(&self) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.first().cloned().unwrap_or_default()
    }

    fn has(&self, token: &str) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        // All are compared, so that how long it takes says nothing.
        known.iter().fold(false, |found, one| found | is_same(one.as_bytes(), token.as_bytes()))
    }
}

fn read(path: &Path) -> Result<Vec<String>> {
    let tried = || format!("can't read the tokens in {}", path.display());
    let file = std::os::unix::fs::OpenOptionsExt::custom_flags(
        std::fs::OpenOptions::new().read(true),
        OFlag::O_NONBLOCK.bits(),
    )
    .open(path)
    .with_context(tried)?;
    let status = fstat(&file).map_err(io::Error::from).with_context(tried)?;
    check_own(&status).with_context(tried)?;
    if status.st_mode & 0o004 != 0 {
        bail!("{}: everybody can read it; `chmod 600` it", tried());
    }
    let mut text = String::new();
    file.take(FILE_BYTES).read_to_string(&mut text).with_context(tried)?;
    let tokens: Vec<String> =
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
    if tokens.is_empty() || tokens.iter().any(|token| token.len() < SHORTEST) {
        bail!(
            "{}: it needs a token on each line, of {SHORTEST} characters at least, such as \
             `openssl rand -hex 32` gives",
            tried()
        );
    }
    Ok(tokens)
}

/// Compares without ending at the first difference.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |found, (a, b)| found | (a ^ b)) == 0
}

/// What a listener lets in.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The address that is listened on; of a Unix socket there is none, whose permissions decide.
    pub address: Option<SocketAddr>,
    /// Other names of this host, lower case.
    pub hosts: Arc<[String]>,
    /// Without them, who reaches the listener may ask.
    pub tokens: Option<Arc<Tokens>>,
}

impl Guard {
    /// Whoever is let in may read everything.
    pub fn is_trusted(&self) -> bool {
        self.address.is_none() || self.tokens.is_some()
    }

    /// Looks at a request.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.address.is_some() {
            self.check_names(method, headers)?;
        }
        let (Some(tokens), Some(_)) = (&self.tokens, self.address) else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match given.and_then(token) {
            Some(token) if tokens.has(&token) => Ok(()),
            _ => Err(Refusal {
                status: StatusCode::UNAUTHORIZED,
                advice: "give a token: Authorization: Bearer TOKEN, or as the password of any user name",
            }),
        }
    }

    /// A page of another site that a browser shows can name this host as its own (DNS rebinding), or ask
    /// it across sites.
    fn check_names(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().and_then(|value| value.to_str().ok());
        if hosts.next().is_some() || !host.is_some_and(|host| self.is_named(host)) {
            return Err(Refusal {
                status: StatusCode::MISDIRECTED_REQUEST,
                advice: "this is not a name of this host; --allow-host NAME allows one",
            });
        }
        let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
        let is_own = |origin: &str| {
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            host.is_some_and(|host| self.is_named(host))
        };
        let says = |name, value: &str| headers.get(name).is_some_and(|it| it == value);
        // A link from elsewhere may lead here; what is shown of it there is nothing.
        let is_link = *method == Method::GET && says("sec-fetch-mode", "navigate");
        let is_foreign = says("sec-fetch-site", "cross-site") && !is_link;
        if is_foreign || headers.contains_key(header::ORIGIN) && !origin.is_some_and(is_own) {
            return Err(Refusal {
                status: StatusCode::FORBIDDEN,
                advice: "pages of other sites may not ask",
            });
        }
        Ok(())
    }

    /// Whether a `Host` is a name of this host: an address of its own or of loopback, `localhost`, or one
    /// that was allowed; with any port, for a proxy may have another.
    fn is_named(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if host.contains('@') {
            return false;
        }
        let name = authority.host().to_ascii_lowercase();
        if name == "localhost" || self.hosts.contains(&name) {
            return true;
        }
        let address: Option<IpAddr> = name.trim_matches(['[', ']']).parse().ok();
        // An address is nobody's name: no page of another site is loaded from it.
        address.is_some_and(|address| {
            let own = self.address.map(|own| own.ip());
            address.is_loopback()
                || own == Some(address)
                || own.is_some_and(|own| own.is_unspecified())
        })
    }
}

/// The token that a request shows: as such (RFC 6750), or, as browsers can, as a password (RFC 7617).
fn token(authorization: &str) -> Option<String> {
    let (scheme, value) = authorization.split_once(' ')?;
    let value = value.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(value.to_owned()),
        "basic" => {
            let text = String::from_utf8(BASE64_STANDARD.decode(value).ok()?).ok()?;
            text.split_once(':').map(|(_, password)| password.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn guard(tokens: Option<Arc<Tokens>>) -> Guard {
        Guard {
            address: Some("127.0.0.1:7678".parse().unwrap()),
            hosts: ["metrics.example".to_owned()].into(),
            tokens,
        }
    }

    fn status(guard: &Guard, headers: &[(&'static str, &str)]) -> u16 {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        guard.check(&Method::GET, &headers).map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    #[test]
    fn only_names_of_this_host_are_answered() {
        let guard = guard(None);
        for host in [
            "localhost",
            "LOCALHOST:7678",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]:7678",
            "metrics.example:443",
        ] {
            assert_eq!(status(&guard, &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:7678",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "a@localhost",
            "a b",
        ] {
            assert_eq!(status(&guard, &[("host", host)]), 421, "{host}");
        }
        assert_eq!(status(&guard, &[]), 421);
    }

    #[test]
    fn pages_of_other_sites_are_refused_and_links_from_them_are_not() {
        let guard = guard(None);
        let with = |name, value| status(&guard, &[("host", "localhost"), (name, value)]);
        assert_eq!(with("origin", "http://localhost:7678"), 200);
        assert_eq!(with("origin", "http://evil.example"), 403);
        assert_eq!(with("origin", "null"), 403);
        assert_eq!(with("sec-fetch-site", "same-origin"), 200);
        assert_eq!(with("sec-fetch-site", "cross-site"), 403);
        let link = [
            ("host", "localhost"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ];
        assert_eq!(status(&guard, &link), 200);
    }

    #[test]
    fn a_token_is_asked_for_where_there_are_any_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let write = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("0123456789abcdef\n", 0o600);
        let tokens = Tokens::read(path.clone()).unwrap();
        let guard = guard(Some(Arc::clone(&tokens)));
        let with = |token: &str| status(&guard, &[("host", "localhost"), ("authorization", token)]);
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        assert_eq!(with("Bearer 0123456789abcdef"), 200);
        assert_eq!(with("bearer  0123456789abcdef"), 200);
        for user in ["", "me", "0123456789abcdef"] {
            assert_eq!(with(&basic(&format!("{user}:0123456789abcdef"))), 200, "{user}");
        }
        for wrong in [
            "Bearer 0123456789abcdeX",
            "Bearer ",
            "Basic 0123456789abcdef",
            "Basic ",
            "Digest 0123456789abcdef",
            "0123456789abcdef",
            &*basic("0123456789abcdef"),
            &*basic("0123456789abcdef:"),
            &*basic("me:0123456789abcdef:"),
        ] {
            assert_eq!(with(wrong), 401, "{wrong}");
        }
        assert_eq!(status(&guard, &[("host", "localhost")]), 401);
        write("fedcba9876543210\n", 0o600);
        tokens.read_again().unwrap();
        assert_eq!(with("Bearer 0123456789abcdef"), 401);
        assert_eq!(with("Bearer fedcba9876543210"), 200);
        for (text, mode, word) in [
            ("short\n", 0o600, "16 characters"),
            ("", 0o600, "needs a token"),
            ("fedcba9876543210\n", 0o604, "chmod 600"),
        ] {
            write(text, mode);
            let error = format!("{:#}", tokens.read_again().unwrap_err());
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(with("Bearer fedcba9876543210"), 200);
    }
}
