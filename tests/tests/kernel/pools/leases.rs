//! Leases on a file system that is full, and by a clock that is set.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use nix::{
    sys::time::{TimeSpec, TimeValLike as _},
    time::{ClockId, clock_gettime, clock_settime},
};
use serde_json::Value;
use tests::{mounts, net::once_in_namespace, recording::Directory, system};

/// In hours.
const DAY: i64 = 24;
const PORTS: usize = 40;
const POOLS: &str = "[[pool]]\nname = \"media\"\nrange = \"21000-21039\"\n";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The ports of each lease, by its number.
type Leased = BTreeMap<i64, Vec<u64>>;

/// A pool, and where its leases are.
struct Pool {
    directory: Directory,
    state: Directory,
}

impl Pool {
    fn make() -> Self {
        let directory = Directory::make();
        fs::write(directory.file("pools.toml"), POOLS).expect("write pools");
        Self { directory, state: Directory::make() }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let program = system::program().unwrap_or_else(|error| panic!("{error:#}"));
        let mut command = Command::new(program);
        command.arg("pools").args(arguments).arg("--state").arg(self.state.path());
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        system::output(&mut command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// What it answers; `Err`: what it says.
    fn ask(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = self.run(&[arguments, &["--json"]].concat());
        match output.status.code() {
            Some(0) => Ok(serde_json::from_slice(&output.stdout).expect("JSON")),
            _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn lease(&self, arguments: &[&str]) -> (i64, Vec<u64>) {
        let lease = ["lease", "media", "--owner", "test"];
        of_lease(&self.ask(&[&lease, arguments].concat()).unwrap_or_else(|error| panic!("{error}")))
    }

    fn leases(&self) -> Leased {
        let all = self.ask(&["leases"]).unwrap_or_else(|error| panic!("{error}"));
        all["leases"].as_array().expect("leases").iter().map(of_lease).collect()
    }

    fn release(&self, id: i64) {
        let output = self.run(&["release", &id.to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What is not leased can be, all of it, and no more.
    fn assert_rest_is_free(&self, leased: &Leased) {
        let rest = PORTS - leased.values().map(Vec::len).sum::<usize>();
        let (id, ports) = self.lease(&["--units", &rest.to_string()]);
        assert_eq!(ports.len(), rest);
        let error = self.ask(&["lease", "media", "--owner", "test"]).expect_err("all are leased");
        assert!(error.contains("No ports available in range 21000-21039"), "{error}");
        self.release(id);
    }
}

/// The wall clock of this machine, which is set back when this is dropped.
struct WallClock {
    /// Realtime less boottime.
    offset: TimeSpec,
}

impl WallClock {
    fn now(clock: ClockId) -> TimeSpec {
        clock_gettime(clock).expect("read a clock")
    }

    fn found() -> Self {
        Self { offset: Self::now(ClockId::CLOCK_REALTIME) - Self::now(ClockId::CLOCK_BOOTTIME) }
    }

    /// Sets it to what it would show, and so many hours.
    fn step(&self, hours: i64) {
        let time = Self::now(ClockId::CLOCK_BOOTTIME) + self.offset + TimeSpec::hours(hours);
        clock_settime(ClockId::CLOCK_REALTIME, time).expect("set the wall clock (needs root)");
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        self.step(0);
    }
}

fn of_lease(lease: &Value) -> (i64, Vec<u64>) {
    let ports = lease["ports"].as_array().expect("ports");
    let ports = ports.iter().map(|port| port.as_u64().expect("a port"));
    (lease["id"].as_i64().expect("a number"), ports.collect())
}

fn fill(path: &str) {
    let mut file = File::create(path).expect("make a file");
    while file.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn on_a_full_file_system_no_lease_changes_and_it_is_said_what_to_do() {
    if system::in_virtual_machine() {
        println!(
            "skipped: files are the same on all kernels, and this is tested on a real processor"
        );
        return;
    }
    once_in_namespace(|_| {
        mounts::leave();
        let pool = Pool::make();
        mounts::small_disk(pool.state.path(), "64k");
        let ballast = pool.state.file("ballast");
        fill(&ballast);
        let advice = format!("make room on the file system of {}", pool.state.path().display());
        let lease = ["lease", "media", "--owner", "test"];
        let error = pool.ask(&lease).expect_err("there is no room for a file of leases");
        assert!(error.contains(&advice), "{error}");

        fs::remove_file(&ballast).expect("make room");
        let made = [pool.lease(&[]), pool.lease(&["--ttl", "1h", "--units", "2"])];
        let held = Leased::from(made);
        fill(&ballast);
        let id = held.keys().next().expect("a lease").to_string();
        for arguments in [&lease[..], &["renew", &id, "--ttl", "2h"], &["release", &id]] {
            let output = pool.run(arguments);
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]), "{error}");
            assert!(error.contains("can't write the leases, none has changed: "), "{error}");
            assert!(error.contains(&advice), "{error}");
        }
        assert_eq!(pool.leases(), held, "reading takes no room");

        fs::remove_file(&ballast).expect("make room");
        assert_eq!(pool.leases(), held);
        pool.assert_rest_is_free(&held);
        held.keys().for_each(|id| pool.release(*id));
        pool.assert_rest_is_free(&Leased::new());
    });
}

#[test]
fn a_clock_that_is_set_ends_no_lease_and_after_a_reboot_the_clock_counts() {
    if !system::in_virtual_machine() {
        println!("skipped: the clock of this machine is others' too");
        return;
    }
    once_in_namespace(|_| {
        mounts::leave();
        let pool = Pool::make();
        let clock = WallClock::found();
        let mut held = Leased::new();
        // Set forward over the end of every lease, and far back to before they were made.
        for step in [0, 2 * DAY, -2 * DAY, 3650 * DAY, -1, 0] {
            clock.step(step);
            let renewed = held.keys().next().copied();
            held.extend([pool.lease(&["--ttl", "1h"]), pool.lease(&["--units", "3"])]);
            if let Some(id) = renewed {
                let id = id.to_string();
                pool.ask(&["renew", &id, "--ttl", "1h"]).unwrap_or_else(|error| panic!("{error}"));
            }
            let mut given: Vec<u64> = held.values().flatten().copied().collect();
            let count = given.len();
            given.sort_unstable();
            given.dedup();
            assert_eq!(given.len(), count, "{step}: {held:?}");
            assert_eq!(pool.leases(), held, "{step}");
            let (first, _) = pool.lease(&[]);
            pool.release(first);
        }
        pool.assert_rest_is_free(&held);

        // Another boot, of which nobody knows how long after the last it began.
        let boot_id = pool.directory.file("boot_id");
        fs::write(&boot_id, "3f4b8c1d-2e5a-4978-8796-a5b4c3d2e1f0\n").expect("write");
        mounts::show(Path::new(&boot_id), Path::new(BOOT_ID));
        clock.step(-2 * DAY);
        assert_eq!(pool.leases(), held, "by a clock that was set back");
        clock.step(3651 * DAY);
        let (timed, lasting): (Leased, Leased) =
            held.into_iter().partition(|(_, ports)| ports.len() == 1);
        assert_eq!((timed.len(), lasting.len()), (6, 6));
        assert_eq!(pool.leases(), lasting, "their time is up");
        pool.assert_rest_is_free(&lasting);
    });
}
