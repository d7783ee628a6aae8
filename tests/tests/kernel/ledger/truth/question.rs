//! What the program states, and how many calls then really succeed.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tests::lines::{Body, Line, Space};
use tests::net::time_waits_to;
use tests::open::{connected_to, sockets};
use tests::socket::{Held, udp, udp6};

use super::source::Source;
use super::world::{World, canonical, loopback, tcp_for};

/// More calls than any range of a world has ports.
const MOST: usize = 400;

/// Nobody looks at an open file for longer.
const LATEST_CLOSE: Duration = Duration::from_secs(1);

/// A call that the kernel chooses the port of.
#[derive(Clone, Copy, Debug)]
pub enum Question {
    /// connect()
    Connect(Source, SocketAddr),
    /// bind() to port 0.
    Bind(&'static str, IpAddr),
}

/// What the kernel answered.
#[derive(Debug)]
pub struct Asked {
    /// The call.
    pub question: Question,
    /// The address that the first call gave its socket, if it succeeded.
    pub first: Option<SocketAddr>,
    /// How many more succeeded.
    pub further: u32,
    /// The ports of all that succeeded.
    pub ports: Vec<u16>,
}

/// A statement and its truth.
pub struct Answer {
    /// Of the first call's line, or why there is none.
    pub stated: Result<u32, String>,
    /// How many calls succeeded after the first.
    pub counted: u32,
    /// How far apart the two may be.
    pub tolerance: u32,
    /// What was asked.
    pub question: Question,
    /// Where the kernel differs from what was told, if the answer is wrong.
    pub differences: String,
}

impl Answer {
    /// They are equal.
    pub fn is_exact(&self) -> bool {
        self.stated.as_ref() == Ok(&self.counted)
    }

    /// They are as near as they must be.
    pub fn is_right(&self) -> bool {
        self.stated.as_ref().is_ok_and(|stated| stated.abs_diff(self.counted) <= self.tolerance)
    }
}

impl Question {
    /// One for connect(), one for bind(), in any order.
    pub fn pair(world: &mut World) -> [Self; 2] {
        let to = world.destination();
        let source = match world.random.u8(0..10) {
            0..6 => Source::Any,
            6..9 => Source::Late(loopback(world.random.u8(1..=4))),
            _ => Source::Mapped,
        };
        let protocol = if world.random.f32() < 0.2 { "udp" } else { "tcp" };
        let address = match world.random.u8(0..10) {
            0..2 => IpAddr::from([0, 0, 0, 0]),
            2..4 => Ipv6Addr::LOCALHOST.into(),
            4 => Ipv6Addr::UNSPECIFIED.into(),
            n => loopback(n - 4),
        };
        let mut pair = [Self::Connect(source, to), Self::Bind(protocol, address)];
        if world.random.bool() {
            pair.swap(0, 1);
        }
        pair
    }

    fn call(self) -> (Held, Result<(), Errno>) {
        match self {
            Self::Connect(source, to) => {
                let (mut held, bound) = source.socket(to);
                let result = bound.and_then(|()| held.try_connect(source.to(to)));
                (held, result)
            }
            Self::Bind(protocol, address) => {
                let mut held = match (protocol, address) {
                    ("udp", IpAddr::V4(_)) => udp(),
                    ("udp", IpAddr::V6(_)) => udp6(),
                    _ => tcp_for(address),
                };
                let result = held.try_bind(SocketAddr::new(address, 0));
                (held, result)
            }
        }
    }

    /// The kernel's answer when no port is left.
    fn errno(self) -> Errno {
        match self {
            Self::Connect(..) => Errno::EADDRNOTAVAIL,
            Self::Bind(..) => Errno::EADDRINUSE,
        }
    }

    /// The TIME_WAIT entries to an IPv4 destination, for whoever looks into a wrong answer.
    fn waiting(self) -> Vec<String> {
        match self {
            Self::Connect(_, to) if to.is_ipv4() => time_waits_to(to),
            _ => Vec::new(),
        }
    }

    /// Calls until the kernel has no port to give, and then gives all of them back.
    pub fn ask(self, world: &mut World) -> Asked {
        world.note(format!("asks {self:?}"));
        let before = sockets();
        let mut held = Vec::new();
        let error = loop {
            match self.call() {
                (socket, Ok(())) => held.push(socket),
                (_, Err(error)) => break error,
            }
            assert!(held.len() < MOST, "no end of ports, {self:?}, {}", world.story());
        };
        assert_eq!(error, self.errno(), "{self:?}, {}", world.story());
        world.note(format!("then in TIME_WAIT there: {:?}", self.waiting()));
        let asked = Asked {
            question: self,
            first: held.first().map(|socket| canonical(socket.local)),
            further: held.len().saturating_sub(1) as u32,
            ports: held.iter().map(|socket| socket.local.port()).collect(),
        };
        for socket in &mut held {
            match self {
                Self::Connect(..) => socket.reset(),
                Self::Bind(..) => socket.close(),
            }
        }
        // Whoever looks at open files may be the one who closes them: see `Held::close`. What of them is
        // closed after the first call of the next question is one more port for its other calls.
        let given: HashSet<SocketAddr> = held.iter().map(|one| canonical(one.local)).collect();
        let is_over = || match self {
            Self::Connect(_, to) => connected_to(to).is_disjoint(&given),
            Self::Bind(..) => sockets() <= before,
        };
        let latest = Instant::now() + LATEST_CLOSE;
        while !is_over() && Instant::now() < latest {
            thread::sleep(Duration::from_millis(1));
        }
        world.note("its ports are given back".to_owned());
        asked
    }
}

impl Asked {
    /// The protocol whose ports were asked for.
    pub fn protocol(&self) -> &'static str {
        match self.question {
            Question::Connect(..) => "tcp",
            Question::Bind(protocol, _) => protocol,
        }
    }

    /// How many of the lines, all of one namespace, it takes to answer this; `None`: they end before.
    pub fn end(&self, lines: &[Line]) -> Option<usize> {
        lines.iter().position(|line| self.is_exhausted(line)).map(|index| index + 1)
    }

    /// The line of the first call.
    pub fn begin<'a>(&self, lines: &'a [Line]) -> Option<&'a Line> {
        lines.iter().find(|line| match (&line.body, self.first) {
            (Body::Acquire(line), Some(first)) => line.local.socket_addr() == first,
            _ => self.is_exhausted(line),
        })
    }

    /// Compares the lines of this question with what the kernel did.
    pub fn answer(&self, lines: &[Line], is_odd: bool) -> Answer {
        let is_udp = matches!(self.question, Question::Bind("udp", _));
        let tolerance = u32::from(is_odd && !is_udp);
        Answer {
            stated: self.stated(lines, tolerance),
            counted: self.further,
            tolerance,
            question: self.question,
            differences: String::new(),
        }
    }

    fn stated(&self, lines: &[Line], tolerance: u32) -> Result<u32, String> {
        let last = lines.iter().rev().find_map(|line| match &line.body {
            Body::Exhausted(line) => Some(line),
            _ => None,
        });
        let last = last.ok_or("there is no line of the call that failed")?;
        let full = last.space.as_ref().ok_or("the exhausted line has no space")?;
        self.is_of(full)?;
        if full.headroom > tolerance || full.used + full.headroom != full.capacity {
            return Err(format!("the exhausted line is not of a full space: {full:?}"));
        }
        let Some(first) = self.first else { return Ok(full.headroom) };
        let acquired = self.begin(lines).and_then(|line| match &line.body {
            Body::Acquire(line) => Some(line),
            _ => None,
        });
        let acquired = acquired.ok_or_else(|| format!("there is no acquire line of {first}"))?;
        let space = acquired.space.as_ref().ok_or("the acquire line has no space")?;
        self.is_of(space)?;
        if space.used + space.headroom != space.capacity {
            return Err(format!("used and headroom do not add up: {space:?}"));
        }
        Ok(space.headroom)
    }

    /// The space is the one that was asked of.
    fn is_of(&self, space: &Space) -> Result<(), String> {
        let destination = space.destination.as_ref().map(|to| to.socket_addr());
        let seen = (space.kind.as_str(), space.protocol.as_str(), destination, space.address);
        let expected = match self.question {
            Question::Connect(_, to) => ("connect", "tcp", Some(to), None),
            Question::Bind(protocol, address) => ("bind", protocol, None, Some(address)),
        };
        let source = match self.question {
            Question::Connect(Source::Late(address), to) if to.is_ipv4() => Some(address),
            Question::Connect(_, to) if to.is_ipv4() => Some(loopback(1)),
            Question::Connect(..) => Some(Ipv6Addr::LOCALHOST.into()),
            Question::Bind(..) => None,
        };
        if (seen, space.source) == (expected, source) {
            return Ok(());
        }
        Err(format!("{space:?} is not the space of {:?}", self.question))
    }

    fn is_exhausted(&self, line: &Line) -> bool {
        let Body::Exhausted(line) = &line.body else { return false };
        match self.question {
            Question::Connect(_, to) => {
                line.via == "connect"
                    && line.remote.as_ref().is_some_and(|remote| remote.socket_addr() == to)
            }
            Question::Bind(protocol, _) => line.via == "bind" && line.protocol == protocol,
        }
    }
}
