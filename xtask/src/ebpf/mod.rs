//! The eBPF object: built from `port-observer-ebpf`, committed beside the program that embeds it.

mod digest;
mod note;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use self::note::Note;
use self::toolchain::{Kind, Toolchain};
use crate::command::{make_directory, workspace, write};

const OBJECT: &str = "port-observer/ebpf/port-observer.bpf.o";
const NOTE: &str = "port-observer/ebpf/port-observer.bpf.toml";

/// What `cargo xtask ebpf` takes.
#[derive(clap::Args)]
pub struct Args {
    /// Change nothing; fail when the committed object is not what the sources give
    #[arg(long)]
    check: bool,
    /// Change nothing; run clippy on the kernel programs, warnings are errors
    #[arg(long, conflicts_with = "check")]
    clippy: bool,
    /// The toolchain to use [default: debian where it is installed, else nightly]
    #[arg(long, value_enum)]
    toolchain: Option<Kind>,
}

/// Runs it.
///
/// # Errors
/// When the toolchain is incomplete, the build fails, or `--check` finds a difference.
pub fn run(args: &Args) -> Result<ExitCode> {
    let toolchain = Toolchain::find(args.toolchain)?;
    eprintln!("toolchain: {}", toolchain.description());
    if args.clippy {
        toolchain.clippy()?;
        return Ok(ExitCode::SUCCESS);
    }
    let root = workspace();
    let rebuilt = root.join("target/ebpf/port-observer.bpf.o");
    if args.check {
        check(&root, &toolchain, &rebuilt)?;
    } else {
        toolchain.build(&rebuilt)?;
        let object = read(&rebuilt)?;
        make_directory(&root.join("port-observer/ebpf"))?;
        write(&root.join(NOTE), Note::new(&root, &toolchain, &object)?.to_toml())?;
        write(&root.join(OBJECT), &object)?;
        println!("{OBJECT}: {} bytes, with its note {NOTE}", object.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares the committed object with the sources, as far as this toolchain can.
fn check(root: &Path, toolchain: &Toolchain, rebuilt: &Path) -> Result<()> {
    let committed = read(&root.join(OBJECT)).context("there is no object: cargo xtask ebpf")?;
    let note = Note::read(&root.join(NOTE))?;
    let now = Note::new(root, toolchain, &committed)?;
    if now.object_sha256 != note.object_sha256 {
        bail!("{OBJECT} is not the object that its note names; run cargo xtask ebpf and commit");
    }
    if now.sources_sha256 != note.sources_sha256 {
        bail!("the kernel programs' sources changed; run cargo xtask ebpf and commit {OBJECT}");
    }
    toolchain.build(rebuilt)?;
    let object = read(rebuilt)?;
    let differences = note.toolchain_differences(&now);
    if differences.is_empty() {
        if object != committed {
            bail!(
                "the same toolchain gives another object ({}); run cargo xtask ebpf and commit",
                rebuilt.display()
            );
        }
        println!("{OBJECT} is what the sources give, byte for byte");
    } else {
        println!("{OBJECT} was built with another toolchain, so its bytes are not compared:");
        for difference in differences {
            println!("  {difference}");
        }
        println!("the digest of the sources is the noted one");
        println!("rebuilt with this toolchain: {}", rebuilt.display());
    }
    Ok(())
}

/// The object that the kernel tests should run on, where it is not the committed one: rebuilt, since
/// this toolchain is not the one that built that.
///
/// # Errors
/// When it does not build.
pub fn object_for_tests() -> Result<Option<PathBuf>> {
    let root = workspace();
    let (Ok(note), Ok(toolchain)) = (Note::read(&root.join(NOTE)), Toolchain::find(None)) else {
        return Ok(None);
    };
    if note.toolchain_differences(&Note::new(&root, &toolchain, &[])?).is_empty() {
        return Ok(None);
    }
    let rebuilt = root.join("target/ebpf/port-observer.bpf.o");
    toolchain.build(&rebuilt)?;
    println!("the kernel tests run on {}, since the toolchain is another", rebuilt.display());
    Ok(Some(rebuilt))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("can't read {}", path.display()))
}
