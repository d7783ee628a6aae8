//! Makes TCP connections for the tests. Writes `PID TID LOCAL REMOTE` for each; where it waits, it
//! waits for the end of its standard input.

use std::io::{self, BufWriter, Read, Write};
use std::net::SocketAddr;
use std::process::exit;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::{ForkResult, Uid, fork, getpid, gettid, setuid};
use socket2::{Domain, Socket, Type};

const USAGE: &str = "usage: traffic hold COUNT ADDRESS   connects, waits, exits
       traffic exit UID ADDRESS     becomes that user, connects, exits
       traffic wait ADDRESS         waits, connects, resets, exits
       traffic fork ADDRESS         connects, forks and exits; the child waits, then exits
       traffic fork-connect ADDRESS forks; the child connects, waits, exits
       traffic reset COUNT ADDRESS… connects and resets, each address in turn";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["hold", count, to] => {
            let to = to.parse()?;
            let held = (0..count.parse()?).map(|_| connect(to)).collect::<Result<Vec<_>>>()?;
            for socket in &held {
                say(&mut io::stdout(), socket, to)?;
            }
            wait();
        }
        ["exit", uid, to] => {
            setuid(Uid::from_raw(uid.parse()?)).context("become another user")?;
            let to = to.parse()?;
            let socket = connect(to)?;
            say(&mut io::stdout(), &socket, to)?;
        }
        ["wait", to] => {
            let to = to.parse()?;
            wait();
            let socket = connect(to)?;
            say(&mut io::stdout(), &socket, to)?;
            socket.set_linger(Some(Duration::ZERO)).context("set SO_LINGER")?;
        }
        ["fork", to] => {
            let to = to.parse()?;
            let socket = connect(to)?;
            say(&mut io::stdout(), &socket, to)?;
            if is_child()? {
                wait();
            }
        }
        ["fork-connect", to] => {
            let to = to.parse()?;
            if is_child()? {
                let socket = connect(to)?;
                say(&mut io::stdout(), &socket, to)?;
                wait();
            } else {
                nix::sys::wait::wait()?;
            }
        }
        ["reset", count, ref to @ ..] if !to.is_empty() => {
            let to = to.iter().map(|to| Ok(to.parse()?)).collect::<Result<Vec<SocketAddr>>>()?;
            let mut output = BufWriter::new(io::stdout());
            for to in to.iter().cycle().take(count.parse()?) {
                let socket = connect(*to)?;
                say(&mut output, &socket, *to)?;
                socket.set_linger(Some(Duration::ZERO)).context("set SO_LINGER")?;
            }
            output.flush()?;
        }
        _ => bail!("{USAGE}"),
    }
    exit(0)
}

fn connect(to: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.connect(&to.into()).with_context(|| format!("connect to {to}"))?;
    Ok(socket)
}

fn say(output: &mut impl Write, socket: &Socket, to: SocketAddr) -> Result<()> {
    let local = socket.local_addr()?.as_socket().context("not an internet address")?;
    writeln!(output, "{} {} {local} {to}", getpid(), gettid()).context("write what was taken")
}

/// Forks; true in the child.
fn is_child() -> Result<bool> {
    // SAFETY: this program has one thread, so the child may call anything.
    Ok(matches!(unsafe { fork() }.context("fork")?, ForkResult::Child))
}

fn wait() {
    let _ = io::stdin().read_to_end(&mut Vec::new());
}
