//! Every operation of SQLite and every wait for the disk fails once, one run for each; the recording
//! stays whole, and what is missing is counted.
//!
//! The faults are of the whole process: this is a test binary of its own, with one test.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod plain;

use std::ffi::{CStr, c_int, c_void};
use std::mem::transmute;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use port_observer::recording::{Options, Recorder};
use rusqlite::{Connection, ffi};

/// What is there before, and what is pushed while something fails.
const BEFORE: u64 = 100;
const PUSHED: u64 = 300;
/// About so many runs of a kind of operation; of more operations, that many are chosen evenly.
/// `PORT_OBSERVER_FAULTS` sets another number: 10000 is one run for each.
const MOST_RUNS: i64 = 20;

/// Which operation fails: those before it are still to come.
struct Fault {
    /// Below 0: none.
    until: AtomicI64,
    seen: AtomicI64,
    errno: AtomicI64,
}

impl Fault {
    const fn new() -> Self {
        Self { until: AtomicI64::new(-1), seen: AtomicI64::new(0), errno: AtomicI64::new(0) }
    }

    fn arm(&self, nth: i64, errno: c_int) {
        self.seen.store(0, Ordering::SeqCst);
        self.errno.store(errno.into(), Ordering::SeqCst);
        self.until.store(nth, Ordering::SeqCst);
    }

    /// Whether this operation fails, with `errno` set.
    fn fails(&self) -> bool {
        let fails = self.seen.fetch_add(1, Ordering::SeqCst) == self.until.load(Ordering::SeqCst);
        if fails {
            // SAFETY: the location is that of this thread.
            unsafe { *libc::__errno_location() = self.errno.load(Ordering::SeqCst) as c_int };
        }
        fails
    }
}

static OPEN: Fault = Fault::new();
static WRITE: Fault = Fault::new();
static TRUNCATE: Fault = Fault::new();
static SYNC: Fault = Fault::new();
static MAP: Fault = Fault::new();
static ALLOCATE: Fault = Fault::new();
/// SQLite's own `mmap`.
static MMAP: AtomicUsize = AtomicUsize::new(0);
static ALLOCATOR: OnceLock<Methods> = OnceLock::new();

struct Methods(ffi::sqlite3_mem_methods);

// SAFETY: they are functions, for all threads.
unsafe impl Send for Methods {}
// SAFETY: as above.
unsafe impl Sync for Methods {}

unsafe extern "C" fn open(path: *const i8, flags: c_int, mode: c_int) -> c_int {
    if OPEN.fails() {
        return -1;
    }
    // SAFETY: the arguments are SQLite's.
    unsafe { libc::open(path.cast(), flags, mode) }
}

unsafe extern "C" fn pwrite(fd: c_int, bytes: *const c_void, count: usize, at: i64) -> isize {
    if WRITE.fails() {
        return -1;
    }
    // SAFETY: the arguments are SQLite's.
    unsafe { libc::pwrite64(fd, bytes, count, at) }
}

unsafe extern "C" fn ftruncate(fd: c_int, length: i64) -> c_int {
    if TRUNCATE.fails() {
        return -1;
    }
    // SAFETY: the arguments are SQLite's.
    unsafe { libc::ftruncate64(fd, length) }
}

type Mmap = unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, c_int, i64) -> *mut c_void;

unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    if MAP.fails() {
        return libc::MAP_FAILED;
    }
    // SAFETY: set before it is called, by `inject`; the arguments are SQLite's.
    unsafe {
        let original: Mmap = transmute(MMAP.load(Ordering::SeqCst));
        original(address, length, protection, flags, fd, offset)
    }
}

/// In place of the C library's, for SQLite and for the thread that waits for the disk.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    if SYNC.fails() {
        return -1;
    }
    // SAFETY: no memory is passed.
    unsafe { libc::syscall(libc::SYS_fdatasync, fd) as c_int }
}

unsafe extern "C" fn allocate(size: c_int) -> *mut c_void {
    match ALLOCATOR.get().and_then(|methods| methods.0.xMalloc) {
        // SAFETY: it is SQLite's own.
        Some(original) if !ALLOCATE.fails() => unsafe { original(size) },
        _ => ptr::null_mut(),
    }
}

unsafe extern "C" fn reallocate(old: *mut c_void, size: c_int) -> *mut c_void {
    match ALLOCATOR.get().and_then(|methods| methods.0.xRealloc) {
        // SAFETY: it is SQLite's own.
        Some(original) if !ALLOCATE.fails() => unsafe { original(old, size) },
        _ => ptr::null_mut(),
    }
}

/// Puts the faults between SQLite and the system.
fn inject() {
    // SAFETY: nothing of SQLite runs yet; the structures live as long as the process.
    unsafe {
        let mut methods: ffi::sqlite3_mem_methods = std::mem::zeroed();
        assert_eq!(ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, &raw mut methods), 0);
        assert!(ALLOCATOR.set(Methods(methods)).is_ok());
        methods.xMalloc = Some(allocate);
        methods.xRealloc = Some(reallocate);
        let methods: &'static mut ffi::sqlite3_mem_methods = Box::leak(Box::new(methods));
        assert_eq!(ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, ptr::from_mut(methods)), 0);
        assert_eq!(ffi::sqlite3_initialize(), 0);
        let vfs = ffi::sqlite3_vfs_find(ptr::null());
        let original = (*vfs).xGetSystemCall.unwrap()(vfs, c"mmap".as_ptr()).unwrap();
        MMAP.store(original as usize, Ordering::SeqCst);
        let set = |name: &CStr, function: *const ()| {
            let function: unsafe extern "C" fn() = transmute(function);
            (*vfs).xSetSystemCall.unwrap()(vfs, name.as_ptr(), Some(function))
        };
        assert_eq!(set(c"open", open as *const ()), 0);
        // The one that is used depends on how it was built.
        let writes = [c"pwrite", c"pwrite64"].map(|name| set(name, pwrite as *const ()));
        assert!(writes.contains(&0));
        assert_eq!(set(c"ftruncate", ftruncate as *const ()), 0);
        assert_eq!(set(c"mmap", mmap as *const ()), 0);
    }
}

fn push(recorder: &mut Recorder, numbers: std::ops::Range<u64>) {
    for number in numbers {
        recorder.push(plain::release(number));
        if number % 50 == 0 {
            recorder.flush();
        }
    }
}

/// Records this much; how many entries are missing.
fn record(path: &Path, numbers: std::ops::Range<u64>) -> anyhow::Result<u64> {
    let options = Options { path: path.to_owned(), keep: None, max_size: 64 << 20, group: None };
    let mut recorder = Recorder::open(options, false)?;
    recorder.start(0, 0, &plain::start());
    push(&mut recorder, numbers);
    recorder.finish()
}

fn numbers(path: &Path) -> Vec<i64> {
    let connection = Connection::open(path).unwrap();
    let check: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let mut statement = connection.prepare("SELECT socket FROM events ORDER BY id").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn whatever_fails_once_the_recording_is_whole_and_what_is_missing_is_counted() {
    let most_runs = std::env::var("PORT_OBSERVER_FAULTS")
        .map_or(MOST_RUNS, |runs| runs.parse().expect("PORT_OBSERVER_FAULTS is a number"));
    inject();
    let kinds = [
        ("open", &OPEN, libc::EIO),
        ("write", &WRITE, libc::EIO),
        ("write", &WRITE, libc::ENOSPC),
        ("write", &WRITE, libc::EFBIG),
        ("truncate", &TRUNCATE, libc::EIO),
        ("sync", &SYNC, libc::EIO),
        ("map", &MAP, libc::ENOMEM),
        ("allocation", &ALLOCATE, libc::ENOMEM),
    ];
    for (name, fault, errno) in kinds {
        // In a file of its own that is begun, and in one that is there.
        for before in [0, BEFORE] {
            fault.arm(-1, errno);
            let count = run(name, fault, None, errno, before).seen;
            assert!(count > 0, "no {name} is seen");
            let step = (count / most_runs).max(1);
            let (mut failed, mut missed) = (0, 0);
            for nth in (0..count).step_by(usize::try_from(step).unwrap()) {
                let outcome = run(name, fault, Some(nth), errno, before);
                failed += u32::from(outcome.has_failed);
                missed += outcome.missing;
            }
            println!(
                "{name}, errno {errno}, {before} before: {count} operations, every {step}; {failed} \
                 runs failed, {missed} entries counted as missing"
            );
        }
    }
}

struct Outcome {
    seen: i64,
    has_failed: bool,
    missing: u64,
}

/// One run in which the nth operation fails.
fn run(name: &str, fault: &Fault, nth: Option<i64>, errno: c_int, before: u64) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ports.db");
    if before > 0 {
        assert_eq!(record(&path, 0..before).unwrap(), 0);
    }
    fault.arm(nth.unwrap_or(-1), errno);
    let result = record(&path, before..before + PUSHED);
    let seen = fault.seen.load(Ordering::SeqCst);
    fault.arm(-1, errno);
    let what = format!("{name} {nth:?}, errno {errno}, {before} before: {result:?}");
    let found = if path.exists() { numbers(&path) } else { Vec::new() };
    assert!(found.len() as u64 >= before, "what was committed is gone: {what}");
    assert!(found.is_sorted_by(|a, b| a < b), "{what}");
    if let Ok(missing) = &result {
        assert_eq!(found.len() as u64 + missing, before + PUSHED, "{what}");
    }
    // And it can be gone on with.
    assert_eq!(record(&path, 1_000..1_010).unwrap(), 0, "{what}");
    assert_eq!(numbers(&path).len(), found.len() + 10, "{what}");
    Outcome { seen, has_failed: result.is_err(), missing: result.unwrap_or(0) }
}
