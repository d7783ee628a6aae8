//! Asks a running `serve`.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use axum::http::uri::Authority;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of an answer.
const MOST_BYTES: usize = 4 << 20;
/// The port of an address that has none.
const PORT: u16 = 7678;

/// Where it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Over TCP: a host's name or address as an address has it, and the port.
    Http(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Remote {
    type Err = String;

    /// `http://HOST:PORT`, `unix:PATH`, or a path.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is neither an address, such as http://127.0.0.1:{PORT}, nor a Unix socket, \
                 such as unix:/run/port-observer.sock"
            )
        };
        if let Some(path) = text.strip_prefix("unix:").or(text.starts_with('/').then_some(text)) {
            return if path.is_empty() { Err(wrong()) } else { Ok(Self::Unix(path.into())) };
        }
        let Some(place) = text.strip_prefix("http://") else { return Err(wrong()) };
        let place: Authority =
            place.strip_suffix('/').unwrap_or(place).parse().map_err(|_| wrong())?;
        if place.as_str().contains('@') {
            return Err(format!("'{text}': give a token by --token FILE"));
        }
        Ok(Self::Http(place.host().to_owned(), place.port_u16().unwrap_or(PORT)))
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(host, port) => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Remote {
    /// What is answered at a path, as text of this type.
    ///
    /// # Errors
    /// When nobody answers there in time, or what is answered is no success.
    pub async fn get(&self, path: &str, accept: &str, token: Option<&str>) -> Result<String> {
        let asked = async {
            match self {
                Self::Http(host, port) => {
                    let stream = TcpStream::connect(&*resolve(host, *port)?).await?;
                    fetch(stream, &format!("{host}:{port}"), path, accept, token).await
                }
                Self::Unix(socket) => {
                    let stream = UnixStream::connect(socket).await?;
                    fetch(stream, "localhost", path, accept, token).await
                }
            }
        };
        let seconds = PATIENCE.as_secs();
        let answered = timeout(PATIENCE, asked).await;
        let answered = answered.unwrap_or_else(|_| bail!("no answer within {seconds} s"));
        answered.with_context(|| format!("can't ask {self}"))
    }
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    // An IPv6 address is in brackets.
    let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok((name, port).to_socket_addrs()?.collect())
}

async fn fetch(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
    path: &str,
    accept: &str,
    token: Option<&str>,
) -> Result<String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::get(path).header(header::HOST, host).header(header::ACCEPT, accept);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).context("the token makes no header")?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body =
            Limited::new(body, MOST_BYTES).collect().await.map_err(|error| anyhow!(error))?;
        let body = String::from_utf8(body.to_bytes().into()).context("the answer is no text")?;
        if head.status != StatusCode::OK {
            bail!("{}: {}", head.status, reason(&body));
        }
        Ok(body)
    };
    // The connection ends when the answer has been read.
    tokio::select! {
        answer = answer => answer,
        Err(error) = connection => Err(error.into()),
    }
}

/// What an answer that is no success says.
fn reason(body: &str) -> String {
    #[derive(Deserialize)]
    struct Fault {
        error: String,
    }
    let fault = serde_json::from_str::<Fault>(body);
    fault.map_or_else(|_| "it is no `port-observer serve`".to_owned(), |fault| fault.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for (text, expected) in [
            ("http://127.0.0.1:7678", Remote::Http("127.0.0.1".to_owned(), 7678)),
            ("http://[::1]:99/", Remote::Http("[::1]".to_owned(), 99)),
            ("http://db1", Remote::Http("db1".to_owned(), 7678)),
            ("unix:/run/a.sock", Remote::Unix("/run/a.sock".into())),
            ("/run/a.sock", Remote::Unix("/run/a.sock".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in
            ["", "db1:7678", "https://db1", "http://", "http://u:p@db1", "http://a/b", "unix:"]
        {
            assert!(text.parse::<Remote>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_the_server_says_it() {
        assert_eq!(reason("{\"error\":\"give a token\"}\n"), "give a token");
        assert_eq!(reason("<html>"), "it is no `port-observer serve`");
    }
}
