//! Where the server listens.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::{
        fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::{
            fs::{FileTypeExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::{
    socket::{AddressFamily, SockaddrLike as _, SockaddrStorage, getsockname},
    stat::{Mode, umask},
};

use super::guard::{Guard, Tokens};

/// Where it is listened, when nothing else is asked for.
pub const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7678);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On an address and a port.
    Tcp(SocketAddr),
    /// On a Unix socket.
    Unix(PathBuf),
}

impl FromStr for Place {
    type Err = String;

    /// `ADDRESS:PORT` or `unix:PATH`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("'unix:' needs a path, such as unix:/run/port-observer.sock".to_owned()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let text = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        text.parse().map(Self::Tcp).map_err(|_| {
            format!("'{text}' is neither an address and a port, such as {DEFAULT}, nor unix:PATH")
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}/"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that is listened on, and who may ask there.
#[derive(Debug)]
pub struct Bound {
    pub(super) listener: Listener,
    pub(super) guard: Guard,
}

impl Bound {
    /// Where it is.
    pub fn place(&self) -> String {
        match (&self.listener, self.guard.address) {
            (Listener::Tcp(_), Some(address)) => Place::Tcp(address).to_string(),
            (Listener::Unix { path: Some(path), .. }, _) => Place::Unix(path.clone()).to_string(),
            _ => "a socket that was passed".to_owned(),
        }
    }

    /// It has a file that was made here.
    pub fn is_file(&self) -> bool {
        matches!(self.listener, Listener::Unix { path: Some(_), .. })
    }

    /// Whoever may ask there may read everything.
    pub fn is_trusted(&self) -> bool {
        self.guard.is_trusted()
    }
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// It was made here, and goes when it is dropped.
        path: Option<PathBuf>,
    },
}

/// The same for an event loop.
pub(super) enum AsyncListener {
    Tcp(tokio::net::TcpListener),
    Unix(
        tokio::net::UnixListener,
        #[expect(dead_code, reason = "dropped, it removes the file")] Remove,
    ),
}

/// Removes the file of a socket when it is dropped.
#[derive(Debug)]
pub(super) struct Remove(Option<PathBuf>);

impl Drop for Remove {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Somebody else may have.
            let _ = fs::remove_file(path);
        }
    }
}

impl Listener {
    pub(super) fn into_async(self) -> io::Result<AsyncListener> {
        match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(listener).map(AsyncListener::Tcp)
            }
            Self::Unix { listener, path } => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::UnixListener::from_std(listener)?;
                Ok(AsyncListener::Unix(listener, Remove(path)))
            }
        }
    }
}

/// Listens at all places.
///
/// # Errors
/// When the kernel refuses one, or it can be reached from other hosts and nobody is asked for a token.
pub fn bind(
    places: &[Place],
    hosts: &[String],
    tokens: Option<&Arc<Tokens>>,
) -> Result<Vec<Bound>> {
    let hosts: Arc<[String]> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
    places
        .iter()
        .map(|place| {
            let listener = match place {
                Place::Tcp(address) => tcp(*address),
                Place::Unix(path) => unix(path),
            };
            let listener = listener.with_context(|| format!("can't listen on {place}"))?;
            guarded(listener, &hosts, tokens)
        })
        .collect()
}

/// The sockets that systemd passed (sd_listen_fds(3)).
///
/// # Errors
/// When one is no listening socket of TCP or Unix, or reachable as in [`bind`].
pub fn passed(
    fds: impl Iterator<Item = RawFd>,
    hosts: &[String],
    tokens: Option<&Arc<Tokens>>,
) -> Result<Vec<Bound>> {
    let hosts: Arc<[String]> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
    fds.map(|fd| {
        // SAFETY: whoever started this process passed this descriptor to it, and it is taken over once.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let address: SockaddrStorage = getsockname(std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd()))
            .context("a descriptor that was passed (LISTEN_FDS) is no socket")?;
        let listener = match address.family() {
            Some(AddressFamily::Inet | AddressFamily::Inet6) => Listener::Tcp(fd.into()),
            Some(AddressFamily::Unix) => Listener::Unix { listener: fd.into(), path: None },
            _ => bail!("a socket that was passed (LISTEN_FDS) is neither of TCP nor of Unix"),
        };
        guarded(listener, &hosts, tokens)
    })
    .collect()
}

fn guarded(
    listener: Listener,
    hosts: &Arc<[String]>,
    tokens: Option<&Arc<Tokens>>,
) -> Result<Bound> {
    let address = match &listener {
        Listener::Tcp(listener) => Some(listener.local_addr().context("a socket without address")?),
        Listener::Unix { .. } => None,
    };
    if let Some(address) = address.filter(|address| !address.ip().is_loopback())
        && tokens.is_none()
    {
        bail!(
            "{address} can be reached from other hosts: give --token FILE with a token that clients \
             have to send, or listen on a loopback address or a Unix socket"
        );
    }
    let guard = Guard { address, hosts: Arc::clone(hosts), tokens: tokens.cloned() };
    Ok(Bound { listener, guard })
}

fn tcp(address: SocketAddr) -> Result<Listener> {
    let bound = TcpListener::bind(address).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow::Error::from(error).context(format!(
            "another program has the port; `port-observer why --bind {address}` says which, --listen \
             takes another"
        )),
        ErrorKind::AddrNotAvailable => {
            anyhow::Error::from(error).context("it is not an address of this host")
        }
        _ => error.into(),
    })?;
    Ok(Listener::Tcp(bound))
}

/// With mode 0660. A socket that nobody listens on any more is replaced.
fn unix(path: &Path) -> Result<Listener> {
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            bail!("there is a file that is no socket; it stays");
        }
        match UnixStream::connect(path) {
            Ok(_) => bail!("another program listens there"),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                fs::remove_file(path).context("can't remove the socket that nobody listens on")?;
            }
            Err(error) => return Err(error).context("can't ask who listens there"),
        }
    }
    // No moment in which others could connect. No other thread makes files yet.
    let before = umask(Mode::from_bits_truncate(0o117));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(Listener::Unix { listener, path: Some(path.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_with_a_port_or_a_path() {
        let place = |text: &str| text.parse::<Place>();
        assert_eq!(place("127.0.0.1:80"), Ok(Place::Tcp("127.0.0.1:80".parse().unwrap())));
        assert_eq!(place("localhost:80"), place("127.0.0.1:80"));
        assert_eq!(place("[::1]:80"), Ok(Place::Tcp("[::1]:80".parse().unwrap())));
        assert_eq!(place("unix:/run/a.sock"), Ok(Place::Unix("/run/a.sock".into())));
        for wrong in ["", "80", ":80", "127.0.0.1", "unix:", "example.org:80", "127.0.0.1:65536"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_hosts_need_a_token() {
        let error = bind(&["0.0.0.0:0".parse().unwrap()], &[], None).unwrap_err();
        assert!(format!("{error:#}").contains("--token FILE"), "{error:#}");
        let bound = bind(&["127.0.0.1:0".parse().unwrap()], &[], None).unwrap();
        assert!(!bound[0].is_trusted());
    }

    #[test]
    fn a_socket_that_nobody_listens_on_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let place = Place::Unix(path.clone());
        let bound = bind(std::slice::from_ref(&place), &[], None).unwrap();
        assert!(bound[0].is_trusted());
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o660);
        let error = bind(std::slice::from_ref(&place), &[], None).unwrap_err();
        assert!(format!("{error:#}").contains("another program listens there"), "{error:#}");
        drop(bound);
        bind(std::slice::from_ref(&place), &[], None).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        let error = bind(std::slice::from_ref(&place), &[], None).unwrap_err();
        assert!(format!("{error:#}").contains("it stays"), "{error:#}");
    }
}
