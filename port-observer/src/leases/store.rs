//! The file of the leases: an SQLite database that commands share. Whoever changes something has it alone
//! meanwhile; what a process that is killed has begun never happened.

mod schema;

use std::{
    fs::{self, DirBuilder, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::stat::{fstat, lstat, stat};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, Transaction,
    TransactionBehavior, named_params, types::Type,
};

use self::schema::set_up;
use super::{
    Lease, Moment, Request,
    choice::{Candidate, Refusal, choose},
};
use crate::{
    own_file,
    pools::{PortSet, Protocols, Scope},
};

/// The file's name.
const FILE: &str = "leases.db";
/// What is said when it can't be written.
const UNCHANGED: &str = "can't write the leases, none has changed";
/// How long others may have the file.
const BUSY: Duration = Duration::from_secs(30);

const COLUMNS: &str = "id, pool, namespace, address, protocol, ports, units, owner, request_key, since_ms, ttl_ms, \
                       end_wall_ms, end_boot_ms, end_boot";

/// The file of the leases, open.
pub struct Store {
    connection: Connection,
    /// `None`: in memory.
    file: Option<Opened>,
}

/// The file as it was opened.
struct Opened {
    directory: PathBuf,
    /// [`own_file::identity`] of what was checked. What SQLite opened can only be newer.
    identity: (u64, u64),
}

impl Store {
    /// Opens the file in a directory; makes both, if they are not there.
    ///
    /// # Errors
    /// When that can't be, or others could have written to them.
    pub fn open(directory: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("can't make the directory {}", directory.display()))?;
        Self::within(directory, true)
    }

    /// The same, if there is one.
    ///
    /// # Errors
    /// The same.
    pub fn open_existing(directory: &Path) -> Result<Option<Self>> {
        match fs::symlink_metadata(directory.join(FILE)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            _ => Self::within(directory, false).map(Some),
        }
    }

    fn within(directory: &Path, makes: bool) -> Result<Self> {
        let directory = directory
            .canonicalize()
            .with_context(|| format!("can't find the directory {}", directory.display()))?;
        let path = directory.join(FILE);
        let shown = path.display();
        own_file::check_own(&stat(&directory)?)
            .with_context(|| format!("the directory {}", directory.display()))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(makes).mode(0o600);
        let file = options
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&path)
            .with_context(|| format!("can't open {shown} for writing"))?;
        let status = fstat(&file)?;
        own_file::check_own_file(&status).with_context(|| format!("the file {shown}"))?;
        // Closing it later would let go what SQLite has locked (fcntl(2), "Advisory record locking").
        drop(file);
        let open = || -> Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_NOFOLLOW
                | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut connection = Connection::open_with_flags(&path, flags)?;
            set_up(&mut connection)?;
            Ok(connection)
        };
        let unusable = |error| explained(&format!("can't use {shown}"), &directory, error);
        let connection = open().map_err(unusable)?;
        let identity = own_file::identity(&status);
        Ok(Self { connection, file: Some(Opened { directory, identity }) })
    }

    /// Opens it anew if another file has its name by now, or none: what others lease is in that one.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn follow(&mut self) -> Result<()> {
        let Some(Opened { directory, identity }) = &self.file else { return Ok(()) };
        let there = lstat(&directory.join(FILE)).map(|status| own_file::identity(&status));
        if there.as_ref() != Ok(identity) {
            *self = Self::open(&directory.clone())?;
        }
        Ok(())
    }

    /// Waits until nobody else changes anything, and has the file alone from then on. Leases that have ended
    /// are forgotten.
    ///
    /// # Errors
    /// When others have it for half a minute, or it can't be read.
    pub fn begin(&mut self) -> Result<Change<'_>> {
        self.begin_by(Moment::now)
    }

    /// The same, by another clock, which is read once the file is this one's alone.
    pub(super) fn begin_by(&mut self, now: impl FnOnce() -> Result<Moment>) -> Result<Change<'_>> {
        let transaction =
            match self.connection.transaction_with_behavior(TransactionBehavior::Immediate) {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                    bail!("others have been changing leases for {} s: try again", BUSY.as_secs())
                }
                other => other.context("can't change leases")?,
            };
        Change::of(transaction, now()?)
    }

    #[cfg(test)]
    pub(super) fn in_memory() -> Self {
        let mut connection = Connection::open_in_memory().unwrap();
        set_up(&mut connection).unwrap();
        Self { connection, file: None }
    }

    /// All that live, by their numbers.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn live(&self) -> Result<Vec<Lease>> {
        let now = Moment::now()?;
        let mut leases = all(&self.connection)?;
        leases.retain(|lease| lease.is_live(&now));
        Ok(leases)
    }
}

/// The leases while they are changed. What is not committed never happened.
pub struct Change<'a> {
    transaction: Transaction<'a>,
    now: Moment,
    leases: Vec<Lease>,
}

impl<'a> Change<'a> {
    fn of(transaction: Transaction<'a>, now: Moment) -> Result<Self> {
        let (leases, ended): (Vec<Lease>, Vec<Lease>) =
            all(&transaction)?.into_iter().partition(|lease| lease.is_live(&now));
        for lease in ended {
            let sql = "DELETE FROM leases WHERE id = ?1";
            transaction.execute(sql, [lease.id]).map_err(unchanged(&transaction))?;
        }
        Ok(Self { transaction, now, leases })
    }

    /// By when it is.
    pub fn now(&self) -> &Moment {
        &self.now
    }

    /// All that live, by their numbers.
    pub fn leases(&self) -> &[Lease] {
        &self.leases
    }

    /// Gives ports of the first of these pools that has enough: of a `group`, in turns. The lease with the
    /// same key is given again.
    ///
    /// # Errors
    /// When the file can't be written. Refused is what nobody can give, and the key of another request.
    pub fn lease(
        &mut self,
        candidates: &[Candidate<'_>],
        group: Option<&str>,
        request: &Request<'_>,
    ) -> Result<std::result::Result<Lease, Refusal>> {
        let same = |lease: &&Lease| request.key.is_some() && lease.key.as_deref() == request.key;
        if let Some(lease) = self.leases.iter().find(same) {
            let is_of = candidates.iter().any(|one| one.pool.name == lease.pool);
            if !is_of || lease.owner != request.owner || lease.units != request.units {
                return Ok(Err(Refusal(format!(
                    "lease {} has this key: {} of the pool {} for {}, which is another request; use \
                     another key",
                    lease.id,
                    lease.ports.told(),
                    lease.pool,
                    lease.owner
                ))));
            }
            return Ok(Ok(lease.clone()));
        }
        let last = match group {
            Some(group) => self
                .transaction
                .query_row("SELECT pool FROM turns WHERE pool_group = ?1", [group], |row| {
                    row.get::<_, String>(0)
                })
                .optional()?,
            None => None,
        };
        let turn = group.map(|group| (group, last.as_deref()));
        let (pool, ports) = match choose(candidates, turn, &self.leases, request) {
            Ok(chosen) => chosen,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut lease = Lease {
            id: 0,
            pool: pool.name.clone(),
            scope: Scope::of(pool),
            ports,
            units: request.units,
            owner: request.owner.to_owned(),
            key: request.key.map(str::to_owned),
            since_ms: self.now.wall_ms,
            ttl: request.ttl,
            end: request.ttl.map(|ttl| self.now.plus(ttl)),
        };
        lease.id = self.insert(&lease)?;
        if let Some(group) = group {
            let sql = "INSERT INTO turns VALUES (?1, ?2) ON CONFLICT DO UPDATE SET pool = ?2";
            self.transaction
                .execute(sql, [group, &lease.pool])
                .map_err(unchanged(&self.transaction))?;
        }
        self.leases.push(lease.clone());
        Ok(Ok(lease))
    }

    fn insert(&self, lease: &Lease) -> Result<i64> {
        let end = lease.end.as_ref();
        self.transaction.execute(
            "INSERT INTO leases (pool, namespace, address, protocol, ports, units, owner, \
             request_key, since_ms, ttl_ms, end_wall_ms, end_boot_ms, end_boot) VALUES (:pool, :namespace, \
             :address, :protocol, :ports, :units, :owner, :key, :since, :ttl, :wall, :monotonic, :boot)",
            named_params! {
                ":pool": lease.pool,
                ":namespace": lease.scope.namespace,
                ":address": lease.scope.address,
                ":protocol": lease.scope.protocols.name(),
                ":ports": lease.ports.to_string(),
                ":units": lease.units,
                ":owner": lease.owner,
                ":key": lease.key,
                ":since": lease.since_ms,
                ":ttl": lease.ttl.map(milliseconds),
                ":wall": end.map(|end| end.wall_ms),
                ":monotonic": end.map(|end| end.boot_ms),
                ":boot": end.map(|end| &end.boot),
            },
        )
        .map_err(unchanged(&self.transaction))?;
        Ok(self.transaction.last_insert_rowid())
    }

    /// Lets a lease live on from now, for as long as it was asked for, or for another time.
    ///
    /// # Errors
    /// When it has ended, or the file can't be written.
    pub fn renew(&mut self, id: i64, ttl: Option<Duration>) -> Result<Lease> {
        let now = self.now.clone();
        let lease = self.find(id)?;
        lease.ttl = ttl.or(lease.ttl);
        lease.end = lease.ttl.map(|ttl| now.plus(ttl));
        let lease = lease.clone();
        let end = lease.end.as_ref();
        self.transaction
            .execute(
                "UPDATE leases SET ttl_ms = :ttl, end_wall_ms = :wall, end_boot_ms = :monotonic, \
             end_boot = :boot WHERE id = :id",
                named_params! {
                    ":id": id,
                    ":ttl": lease.ttl.map(milliseconds),
                    ":wall": end.map(|end| end.wall_ms),
                    ":monotonic": end.map(|end| end.boot_ms),
                    ":boot": end.map(|end| &end.boot),
                },
            )
            .map_err(unchanged(&self.transaction))?;
        Ok(lease)
    }

    /// Gives the ports of a lease back to the pool that they came from.
    ///
    /// # Errors
    /// When it has ended already, or the file can't be written.
    pub fn release(&mut self, id: i64) -> Result<Lease> {
        let lease = self.find(id)?.clone();
        let sql = "DELETE FROM leases WHERE id = ?1";
        self.transaction.execute(sql, [id]).map_err(unchanged(&self.transaction))?;
        self.leases.retain(|one| one.id != id);
        Ok(lease)
    }

    fn find(&mut self, id: i64) -> Result<&mut Lease> {
        let found = self.leases.iter_mut().find(|lease| lease.id == id);
        found.with_context(|| {
            format!("there is no lease {id}: it was given back, or its time was up")
        })
    }

    /// Makes it so, once it is on the disk.
    ///
    /// # Errors
    /// When the file can't be written: then nothing has changed.
    pub fn commit(self) -> Result<()> {
        let unchanged = unchanged(&self.transaction);
        self.transaction.commit().map_err(unchanged)
    }
}

/// Makes an error of what SQLite could not write.
fn unchanged(connection: &Connection) -> impl Fn(rusqlite::Error) -> anyhow::Error + use<> {
    let directory = connection.path().and_then(|path| Path::new(path).parent());
    let directory = directory.map(Path::to_owned).unwrap_or_default();
    move |error| explained(UNCHANGED, &directory, error.into())
}

/// What could not be done, and why; where there is no room, with what helps.
fn explained(what: &str, directory: &Path, error: anyhow::Error) -> anyhow::Error {
    let code = error.downcast_ref().and_then(rusqlite::Error::sqlite_error_code);
    if code != Some(ErrorCode::DiskFull) {
        return error.context(what.to_owned());
    }
    let shown = directory.display();
    anyhow!("{what}: the disk is full: make room on the file system of {shown} and try again")
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn all(connection: &Connection) -> Result<Vec<Lease>> {
    let sql = format!("SELECT {COLUMNS} FROM leases ORDER BY id");
    let mut statement = connection.prepare(&sql).context("can't read the leases")?;
    let rows = statement.query_map([], of_row)?.collect::<rusqlite::Result<_>>();
    rows.context("can't read the leases")
}

fn of_row(row: &Row<'_>) -> rusqlite::Result<Lease> {
    let wrong = |column: usize, what: &str| {
        let error = format!("{what} is not as this program writes it").into();
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error)
    };
    let protocol: String = row.get(4)?;
    let protocols = Protocols::ALL.into_iter().find(|one| one.name() == protocol);
    let ports = PortSet::read(&row.get::<_, String>(5)?);
    let ttl = row.get::<_, Option<i64>>(10)?.and_then(|ms| u64::try_from(ms).ok());
    let end: (Option<i64>, Option<i64>, Option<String>) =
        (row.get(11)?, row.get(12)?, row.get(13)?);
    Ok(Lease {
        id: row.get(0)?,
        pool: row.get(1)?,
        scope: Scope {
            namespace: row.get(2)?,
            address: row.get(3)?,
            protocols: protocols.ok_or_else(|| wrong(4, "a protocol"))?,
        },
        ports: ports.ok_or_else(|| wrong(5, "a set of ports"))?,
        units: row.get(6)?,
        owner: row.get(7)?,
        key: row.get(8)?,
        since_ms: row.get(9)?,
        ttl: ttl.map(Duration::from_millis),
        end: match end {
            (Some(wall_ms), Some(boot_ms), Some(boot)) => Some(Moment { boot, boot_ms, wall_ms }),
            _ => None,
        },
    })
}
