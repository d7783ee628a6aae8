//! The first process of a place: starts both ends, watches them, and says what came of it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd as _, OwnedFd},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    Close, Health, Limit, MOST_CONNECTIONS, Outcome, Plan,
    conclude::Seen,
    evidence::{self, Counters, Evidence, Group},
    parts::{ClientJob, End, Job, Line, ServerJob, say},
    place::{self, Part},
    program::Program,
    server,
};
use crate::kernel::clock::now_boot_ns;

mod follow;
mod health;
mod orders;
mod spare;
mod tally;
mod user_server;

use self::{
    orders::{listen_to_orders, wait_for_go},
    spare::Spare,
    tally::Tally,
    user_server::UserServer,
};

/// How often both ends are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long the server's queue is looked at after clients are done, to see whether it accepts.
const LAST_LOOK: Duration = Duration::from_millis(500);
/// Ports that the own server may listen on: the first that is outside of the range.
const SERVER_PORTS: [u16; 3] = [7680, 999, 65_535];

/// What reaches the first process.
enum Message {
    /// A client said something, or ended.
    Client(usize, Option<Result<Line>>),
    /// A server said something, or ended.
    Server(Option<Result<Line>>),
    /// The one who runs the program of the user's did.
    Program(Option<Result<Line>>),
    /// The one who started all says: go.
    Go,
    /// Or: stop; or has ended.
    Stop,
}

/// Runs it.
///
/// # Errors
/// When the place can't be furnished, the server does not start, or what is to be watched does not run.
pub fn run(plan: Plan) -> Result<()> {
    if let Some(Program::Running(pid)) = plan.program {
        return follow::watch(&plan, pid);
    }
    if plan.has_place() {
        place::furnish(&plan)?;
    }
    let (to, messages) = channel();
    listen_to_orders(to.clone())?;
    let mut run = Run::begin(plan, to, messages)?;
    say(&Line::Ready)?;
    if !wait_for_go(&run.messages) {
        return Ok(());
    }
    let outcome = match run.plan.program.clone() {
        Some(Program::Command(command)) => run.follow(command)?,
        _ => run.load()?,
    };
    say(&Line::Over(Box::new(outcome)))?;
    // The place stays until the observer has seen all of it.
    wait_for_go(&run.messages);
    Ok(())
}

struct Run {
    plan: Plan,
    to: Sender<Message>,
    messages: Receiver<Message>,
    server_port: u16,
    destinations: Vec<SocketAddr>,
    /// The own server's socket, which its processes share.
    listener: Option<OwnedFd>,
    servers: Vec<Part>,
    user_server: Option<UserServer>,
    /// What its processes were before the load.
    server_at_first: evidence::End,
    clients: Vec<Part>,
    tally: Tally,
    since: Counters,
    /// Closed before the last look.
    spare: Spare,
}

impl Run {
    fn begin(plan: Plan, to: Sender<Message>, messages: Receiver<Message>) -> Result<Self> {
        let mut run = Self {
            server_port: 0,
            destinations: Vec::new(),
            listener: None,
            servers: Vec::new(),
            user_server: None,
            server_at_first: evidence::End::default(),
            clients: Vec::new(),
            tally: Tally::begin(plan.is_churn(), 0)?,
            since: Counters::read(Group::default()),
            spare: Spare::default(),
            plan,
            to,
            messages,
        };
        match run.plan.server.clone() {
            _ if run.plan.target.is_some() => run.take_target(),
            Some(command) => run.start_users_server(&command)?,
            None if run.plan.program.is_none() => run.start_own_server()?,
            None => {}
        }
        Ok(run)
    }

    fn take_target(&mut self) {
        self.server_port = self.plan.target.map_or(0, |target| target.port());
        self.destinations.extend(self.plan.target);
    }

    fn start_own_server(&mut self) -> Result<()> {
        let range = range_here();
        let is_outside = |port: &&u16| !(range.0..=range.1).contains(*port);
        let port = SERVER_PORTS.iter().find(is_outside).copied().unwrap_or(SERVER_PORTS[0]);
        let any = match self.plan.ipv6 {
            true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            false => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let listener = server::listen(SocketAddr::new(any, port), self.plan.udp)
            .with_context(|| format!("can't listen on port {port}"))?;
        self.listener = Some(listener);
        self.server_port = port;
        self.destinations = (0..self.plan.destinations)
            .map(|number| SocketAddr::new(self.plan.destination(number), port))
            .collect();
        self.add_server()
    }

    fn add_server(&mut self) -> Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let job = Job::Server(ServerJob {
            nofile: self.nofile(),
            meets_nofile: self.plan.nofile.is_some(),
            listener: std::os::fd::AsRawFd::as_raw_fd(listener),
            closes: self.plan.close == Close::Server,
            udp: self.plan.udp,
        });
        let part = place::start(&job, &[listener.as_fd()], self.to.clone(), Message::Server)?;
        self.servers.push(part);
        Ok(())
    }

    fn start_users_server(&mut self, command: &str) -> Result<()> {
        let server = UserServer::start(command)?;
        let server = self.user_server.insert(server);
        let found = server.wait_until_it_listens(self.plan.server_port)?;
        self.server_port = found.port;
        let addresses: Vec<IpAddr> = match found.address {
            address if !address.is_unspecified() => vec![address.to_canonical()],
            _ => (0..self.plan.destinations).map(|number| self.plan.destination(number)).collect(),
        };
        if addresses.len() < usize::from(self.plan.destinations) {
            bail!(
                "the server listens on {} alone: more destinations take one that listens on all \
                 addresses",
                found.address
            );
        }
        self.destinations =
            addresses.into_iter().map(|address| SocketAddr::new(address, found.port)).collect();
        Ok(())
    }

    fn nofile(&self) -> u64 {
        self.plan.nofile.unwrap_or_else(evidence::hard_limit)
    }

    /// Makes connections until a limit is met, and sees which.
    fn load(&mut self) -> Result<Outcome> {
        self.server_at_first = self.look().server;
        self.since = Counters::read(self.server_at_first.group.clone());
        self.tally = Tally::begin(self.plan.is_churn(), now_boot_ns()?)?;
        self.spare = Spare::open();
        self.add_client()?;
        let mut last_look = Instant::now();
        let end = loop {
            let left = LOOK.saturating_sub(last_look.elapsed());
            match self.messages.recv_timeout(left) {
                Ok(Message::Client(number, said)) if number + 1 == self.clients.len() => {
                    if let Some(end) = self.hear(number, said)? {
                        break end;
                    }
                }
                Ok(Message::Stop) => {
                    self.is_told();
                    break End::Told;
                }
                Ok(Message::Server(Some(Ok(Line::Failed { why })))) => bail!("the server: {why}"),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("all processes are gone"),
            }
            if last_look.elapsed() >= LOOK {
                last_look = Instant::now();
                if evidence::is_memory_short() {
                    break End::Memory;
                }
                say(&Line::Progress(self.tally.all()))?;
            }
        };
        self.conclude(&end)
    }

    /// The end of it, and what both ends show then.
    fn conclude(&mut self, end: &End) -> Result<Outcome> {
        let files = self.spare.close();
        let mut evidence = self.look();
        if matches!(end, End::Stalled | End::Closed) {
            thread::sleep(LAST_LOOK);
            let later = self.look();
            let lately = later.listening.accepted.saturating_sub(evidence.listening.accepted);
            evidence = later;
            let per_second = lately as f64 / LAST_LOOK.as_secs_f64();
            evidence.listening.accepted_per_second = per_second as u64;
        } else {
            // What waits in the queue at this moment, and not for long, is accepted too.
            let began = Instant::now();
            while evidence.listening.queue > 0 && began.elapsed() < LAST_LOOK {
                thread::sleep(LAST_LOOK / 50);
                evidence = self.look();
            }
        }
        evidence.files.0 = evidence.files.0.max(files);
        let all = self.tally.all();
        let verdict =
            Seen { plan: &self.plan, end, progress: &all, evidence: &evidence }.conclude();
        let alive = evidence.server.processes > 0;
        let health = match verdict.limit {
            // It would be refused as clients are, or killed.
            Limit::Seccomp => Health { alive, ..Health::default() },
            _ => self.health(alive),
        };
        let (made, seconds) = self.tally.breaking_point();
        Ok(Outcome {
            plan: self.plan.clone(),
            range: range_here(),
            began_ns: self.tally.began_ns(),
            seconds,
            // What the server closes at once stands for a moment, and does not count.
            connections: match end {
                End::Closed if evidence.listening.is_there => evidence.listening.accepted,
                _ => made,
            },
            refused: all.refused.clone(),
            retried: all.retried,
            clients: u32::try_from(self.clients.len()).unwrap_or(u32::MAX),
            end: end.clone(),
            milestones: self.tally.milestones(),
            samples: self.tally.samples(),
            verdict,
            evidence,
            health: Some(health),
        })
    }

    fn look(&mut self) -> Evidence {
        let clients: Vec<u32> = self.clients.iter().map(Part::pid).collect();
        let servers = self.server_pids();
        let ends = [&*clients, &*servers];
        let mut evidence = evidence::gather(&self.plan, self.server_port, ends, &self.since);
        if let Some(server) = &mut self.user_server {
            evidence.server_wrote = server.words();
            // One that has ended can't be asked any more.
            if evidence.server.processes == 0 {
                evidence.server.name.clone_from(&self.server_at_first.name);
                evidence.server.table.clone_from(&self.server_at_first.table);
            }
        }
        evidence
    }

    fn server_pids(&self) -> Vec<u32> {
        match &self.user_server {
            Some(server) => server.pids(),
            None => self.servers.iter().map(Part::pid).collect(),
        }
    }

    fn add_client(&mut self) -> Result<()> {
        if !self.clients.is_empty() {
            self.add_server()?;
        }
        let first = self.tally.standing();
        let until = self
            .tally
            .began_ns()
            .saturating_add(u64::try_from(self.plan.duration.as_nanos()).unwrap_or(u64::MAX));
        let job = Job::Client(ClientJob {
            nofile: self.nofile(),
            meets_nofile: self.plan.nofile.is_some(),
            sources: self.sources(),
            destinations: self.destinations.clone(),
            bind: self.plan.bind,
            udp: self.plan.udp,
            close: self.plan.close,
            first,
            wanted: self
                .plan
                .connections
                .or_else(|| (!self.plan.is_churn()).then_some(MOST_CONNECTIONS)),
            rate: self.plan.rate,
            until_ns: until,
        });
        let number = self.clients.len();
        let told = move |said| Message::Client(number, said);
        self.clients.push(place::start(&job, &[], self.to.clone(), told)?);
        Ok(())
    }

    /// What clients bind to, where they do.
    fn sources(&self) -> Vec<SocketAddr> {
        let binds = self.plan.sources > 1 || self.plan.bind != super::Bind::None;
        let count = if binds { self.plan.sources } else { 0 };
        (0..count).map(|number| SocketAddr::new(self.plan.source(number), 0)).collect()
    }

    /// Takes in what a client said. Something: all clients are done.
    fn hear(&mut self, number: usize, said: Option<Result<Line>>) -> Result<Option<End>> {
        match said {
            Some(Ok(Line::Progress(progress))) => {
                self.tally.take(progress);
                Ok(None)
            }
            Some(Ok(Line::Ended { end, progress })) => {
                self.tally.take(progress);
                if end != End::Full {
                    return Ok(Some(end));
                }
                self.tally.next_client();
                self.add_client()?;
                Ok(None)
            }
            Some(Ok(Line::Failed { why })) => bail!("the process that connects: {why}"),
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(error.context("the process that connects")),
            None => {
                // Its end is known a little after that of its output.
                thread::sleep(Duration::from_millis(50));
                let how = self.clients.get_mut(number).and_then(Part::ended);
                Ok(Some(End::Died { how: how.unwrap_or_else(|| "it is not known how".to_owned()) }))
            }
        }
    }

    /// A client that is told to stop has its end to tell.
    fn is_told(&mut self) {
        let Some(last) = self.clients.len().checked_sub(1) else { return };
        // It keeps what it has until it is dropped: what it said last is as far as it is.
        let until = Instant::now() + LOOK;
        while let Ok(message) =
            self.messages.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            if let Message::Client(number, Some(Ok(Line::Progress(progress)))) = message
                && number == last
            {
                self.tally.take(progress);
            }
        }
    }
}

/// `ip_local_port_range` here.
fn range_here() -> (u16, u16) {
    let ports = crate::kernel::sysctl::ports_here();
    ports.map_or((0, 0), |ports| (ports.ephemeral.min, ports.ephemeral.max))
}
