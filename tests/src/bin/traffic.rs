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
       traffic mix HELD CLOSED ADDRESS… (three for each destination) connects, closes, waits
       traffic inherit ADDRESS      listens, forks and exits; the child accepts, waits
       traffic greet BYTES ADDRESS  listens, and sends that much on one connection after the other
       traffic pairs COUNT ADDRESS  listens, connects to itself, says the listener, waits
       traffic reset COUNT ADDRESS… connects and resets, each address in turn
       traffic busy PAUSE ADDRESS   connects and resets, waits as many microseconds, and so on
                                    until the end of its input
       traffic flood-udp            binds UDP sockets to any port and closes them, as fast as it can,
                                    until the end of its input";

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
        ["greet", bytes, at] => greet(&vec![b'x'; bytes.parse()?], at.parse()?)?,
        ["mix", ref destinations @ ..] if !destinations.is_empty() => mix(destinations)?,
        ["inherit", at] => {
            let at: SocketAddr = at.parse()?;
            let listener = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
            listener.bind(&at.into()).with_context(|| format!("bind {at}"))?;
            listener.listen(8).context("listen")?;
            say(&mut io::stdout(), &listener, at)?;
            if is_child()? {
                // Also when nobody connects.
                std::thread::spawn(|| {
                    wait();
                    exit(0);
                });
                let (child, client) = listener.accept().context("accept")?;
                drop(listener);
                let client = client.as_socket().context("not an internet address")?;
                say(&mut io::stdout(), &child, client)?;
                wait();
            }
        }
        ["pairs", count, at] => {
            let at: SocketAddr = at.parse()?;
            let listener = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
            listener.bind(&at.into()).with_context(|| format!("bind {at}"))?;
            listener.listen(8).context("listen")?;
            let pair = || Ok((connect(at)?, listener.accept().context("accept")?));
            let _held = (0..count.parse()?).map(|_| pair()).collect::<Result<Vec<_>>>()?;
            say(&mut io::stdout(), &listener, at)?;
            wait();
        }
        ["busy", pause, to] => {
            let (pause, to) = (Duration::from_micros(pause.parse()?), to.parse()?);
            let ended = std::thread::spawn(wait);
            while !ended.is_finished() {
                connect(to)?.set_linger(Some(Duration::ZERO)).context("set SO_LINGER")?;
                std::thread::sleep(pause);
            }
        }
        ["flood-udp"] => {
            let ended = std::thread::spawn(wait);
            while !ended.is_finished() {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
                let any: SocketAddr = ([127, 0, 0, 1], 0).into();
                socket.bind(&any.into()).context("bind any port")?;
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

/// Connects to each destination, closes some of the connections, holds the others.
fn mix(destinations: &[&str]) -> Result<()> {
    let mut held = Vec::new();
    for destination in destinations.chunks(3) {
        let [hold, close, to] = destination else { bail!("{USAGE}") };
        let (hold, close): (usize, usize) = (hold.parse()?, close.parse()?);
        let to = to.parse()?;
        let mut sockets = (0..hold + close).map(|_| connect(to)).collect::<Result<Vec<_>>>()?;
        for socket in &sockets {
            say(&mut io::stdout(), socket, to)?;
        }
        sockets.truncate(hold);
        held.extend(sockets);
    }
    wait();
    Ok(())
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

/// Takes the next connection once all is sent on the one before, and keeps them.
fn greet(greeting: &[u8], at: SocketAddr) -> Result<()> {
    let listener = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    listener.bind(&at.into()).with_context(|| format!("bind {at}"))?;
    listener.listen(8).context("listen")?;
    let mut kept = Vec::new();
    loop {
        let (mut socket, _) = listener.accept().context("accept")?;
        // One that the other end has closed is no reason to end.
        let _ = socket.write_all(greeting);
        kept.push(socket);
    }
}
