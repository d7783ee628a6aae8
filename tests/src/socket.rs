//! The vocabulary of the scenarios: sockets that know what is to be said of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Deref;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::expect::{Owner, Reason, Row, Via, What};
use crate::system::{close, patience};

/// Any port of 127.0.0.1.
pub const ANY: SocketAddr = local(0);

/// A port of 127.0.0.1.
pub const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// A port of ::1.
pub const fn local6(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port)
}

/// A port of ::ffff:127.0.0.1.
pub const fn mapped(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()), port)
}

/// A port that a socket has taken, and who took it.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Its own address and port.
    pub local: SocketAddr,
    /// Its peer.
    pub remote: Option<SocketAddr>,
    /// Who took it.
    pub owner: Owner,
}

impl Taken {
    /// Its port.
    pub fn port(&self) -> u16 {
        self.local.port()
    }

    /// The row of its `acquire`.
    pub fn acquired(&self, via: Via) -> Row {
        let what = What::Acquired(via);
        match via {
            Via::Connect => self.row(what),
            Via::Bind(_) => Row { remote: Some(None), ..self.row(what) },
            // The address is chosen later than the port.
            Via::Autobind | Via::Listen => Row { remote: None, address: None, ..self.row(what) },
        }
    }

    /// The row of its `time_wait`.
    pub fn time_wait(&self) -> Row {
        self.row(What::TimeWait)
    }

    /// The row of its `release`.
    pub fn released(&self, reason: Reason) -> Row {
        let row = self.row(What::Released(reason));
        // UDP may lose its address and its peer before it is closed.
        if self.protocol == "udp" { Row { remote: None, address: None, ..row } } else { row }
    }

    fn row(&self, what: What) -> Row {
        Row {
            what,
            protocol: self.protocol,
            port: self.port(),
            address: Some(self.local.ip().to_canonical()),
            remote: Some(self.remote.map(canonical)),
            owner: Some(self.owner),
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A socket. It may be closed and still be spoken of.
#[derive(Debug)]
pub struct Held {
    socket: Option<Socket>,
    taken: Taken,
}

impl Deref for Held {
    type Target = Taken;

    fn deref(&self) -> &Taken {
        &self.taken
    }
}

/// A TCP socket over IPv4.
pub fn tcp() -> Held {
    Held::new(Domain::IPV4, "tcp")
}

/// A TCP socket over IPv6, that also takes v4-mapped addresses.
pub fn tcp6() -> Held {
    Held::new(Domain::IPV6, "tcp")
}

/// A UDP socket over IPv4.
pub fn udp() -> Held {
    Held::new(Domain::IPV4, "udp")
}

/// A UDP socket over IPv6.
pub fn udp6() -> Held {
    Held::new(Domain::IPV6, "udp")
}

impl Held {
    fn new(domain: Domain, protocol: &'static str) -> Self {
        let (kind, number) = match protocol {
            "udp" => (Type::DGRAM, Protocol::UDP),
            _ => (Type::STREAM, Protocol::TCP),
        };
        let socket = Socket::new(domain, kind, Some(number)).expect("make a socket");
        if domain == Domain::IPV6 {
            socket.set_only_v6(false).expect("take v4-mapped addresses");
        }
        Self::of(socket, protocol)
    }

    fn of(socket: Socket, protocol: &'static str) -> Self {
        let taken = Taken { protocol, local: ANY, remote: None, owner: Owner::me() };
        Self { socket: Some(socket), taken }
    }

    /// The socket, which must be open.
    pub fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("the socket is open")
    }

    /// Sets SO_REUSEADDR.
    pub fn reuse_address(self) -> Self {
        self.socket().set_reuse_address(true).expect("set SO_REUSEADDR");
        self
    }

    /// Sets SO_REUSEPORT.
    pub fn reuse_port(self) -> Self {
        self.socket().set_reuse_port(true).expect("set SO_REUSEPORT");
        self
    }

    /// Sets IP_BIND_ADDRESS_NO_PORT.
    pub fn bind_address_no_port(self) -> Self {
        setsockopt(self.socket(), sockopt::IpBindAddressNoPort, &true)
            .expect("set IP_BIND_ADDRESS_NO_PORT");
        self
    }

    /// Sets IP_LOCAL_PORT_RANGE; `None`: this kernel has no such option.
    pub fn own_range(self, low: u16, high: u16) -> Option<Self> {
        /// `IP_LOCAL_PORT_RANGE` (include/uapi/linux/in.h, from Linux 6.3).
        const LOCAL_PORT_RANGE: i32 = 51;
        let range = u32::from(low) | u32::from(high) << 16;
        // SAFETY: the option is read from four bytes, which outlive the call.
        let result = unsafe {
            libc::setsockopt(
                self.socket().as_raw_fd(),
                libc::IPPROTO_IP,
                LOCAL_PORT_RANGE,
                (&raw const range).cast(),
                4,
            )
        };
        match (result, Errno::last()) {
            (0, _) => Some(self),
            (_, Errno::ENOPROTOOPT) => None,
            (_, error) => panic!("set IP_LOCAL_PORT_RANGE {low}-{high}: {error}"),
        }
    }

    /// Calls bind(), which must succeed.
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.try_bind(address).unwrap_or_else(|error| panic!("bind {address}: {error}"));
        self
    }

    /// Calls bind().
    pub fn try_bind(&mut self, address: SocketAddr) -> Result<(), Errno> {
        self.socket().bind(&address.into()).map_err(errno)?;
        self.learn()
    }

    /// Calls listen(), which must succeed. Nothing waits without end for its connections.
    pub fn listen(mut self) -> Self {
        self.socket().set_read_timeout(Some(patience())).expect("set SO_RCVTIMEO");
        self.socket().listen(4096).expect("listen");
        self.learn().expect("getsockname");
        self
    }

    /// Calls listen().
    pub fn try_listen(&mut self) -> Result<(), Errno> {
        self.socket().listen(16).map_err(errno)?;
        self.learn()
    }

    /// Calls connect(), which must succeed.
    pub fn connect(mut self, to: SocketAddr) -> Self {
        self.try_connect(to).unwrap_or_else(|error| panic!("connect {to}: {error}"));
        self
    }

    /// Calls connect(). A refused socket had a peer for a moment.
    pub fn try_connect(&mut self, to: SocketAddr) -> Result<(), Errno> {
        let connected = self.socket().connect(&to.into()).map_err(errno);
        match connected {
            Ok(()) => self.learn()?,
            Err(Errno::ECONNREFUSED) => (),
            Err(_) => return connected,
        }
        self.taken.remote = Some(to);
        connected
    }

    /// Says which address the socket had: a refused one has lost it.
    pub fn had(&mut self, local: SocketAddr) {
        self.taken.local = local;
    }

    /// Sends a byte to an address, which must succeed.
    pub fn send_to(mut self, to: SocketAddr) -> Self {
        self.try_send_to(to).unwrap_or_else(|error| panic!("send to {to}: {error}"));
        self
    }

    /// Sends a byte to an address.
    pub fn try_send_to(&mut self, to: SocketAddr) -> Result<(), Errno> {
        self.socket().send_to(b"x", &to.into()).map_err(errno)?;
        self.learn()
    }

    /// Waits for a connection and accepts it. Nothing is ever said of accepted sockets.
    pub fn accept(&self) -> Held {
        self.accept_next().expect("a connection within the time that a test has patience")
    }

    /// Waits for a connection and accepts it; `None` when none comes.
    pub fn accept_next(&self) -> Option<Self> {
        match self.socket().accept() {
            Ok((socket, _)) => Some(Self::of(socket, "tcp")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("accept: {error}"),
        }
    }

    /// Closes the socket with FIN. It may keep its port for a moment longer, and its release be told after
    /// what this thread does next: whoever looks at the open files of this process, the observer among
    /// them, has one of them meanwhile (`proc_fd_link`, fs/proc/fd.c; `task_file_seq_get_next`,
    /// kernel/bpf/task_iter.c), and the last to let go of it closes it.
    pub fn close(&mut self) {
        close(self.socket.take());
    }

    /// Closes the socket with RST.
    pub fn reset(&mut self) {
        self.socket().set_linger(Some(Duration::ZERO)).expect("set SO_LINGER");
        self.close();
    }

    /// Waits until the peer has closed.
    pub fn read_to_the_end(&self) {
        let mut socket = self.socket();
        let _ = io::Read::read_to_end(&mut socket, &mut Vec::new());
    }

    fn learn(&mut self) -> Result<(), Errno> {
        let address = self.socket().local_addr().map_err(errno)?;
        self.taken.local = address.as_socket().expect("an internet address");
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.close();
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().expect("an error of the kernel's"))
}
