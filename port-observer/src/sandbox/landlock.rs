//! The files that a task which looks at no process may open (Landlock, from Linux 5.13 on).

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus,
    Scope,
};

/// Where time zones are (tzset(3), and where the `jiff` crate looks).
const ZONES: [&str; 6] = [
    "/etc/localtime",
    "/etc/timezone",
    "/usr/share/zoneinfo",
    "/usr/lib/zoneinfo",
    "/usr/share/lib/zoneinfo",
    "/etc/zoneinfo",
];
/// The newest rights that are denied; those that a kernel does not know it does not deny.
const NEWEST: ABI = ABI::V6;

/// Leaves these files with their directories (of a recording, what SQLite makes beside it), and the time
/// zones; no TCP, no other process's signals or abstract sockets.
pub(super) fn restrict(files: &[Option<&Path>]) -> Result<()> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()
        .context("can't make rules")?;
    let reads = AccessFs::ReadFile | AccessFs::ReadDir;
    let writes =
        reads | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    let given = ["TZ", "TZDIR"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    let mut rules =
        ZONES.iter().map(PathBuf::from).chain(given).try_fold(rules, |rules, path| {
            // TZ=:PATH
            let path = path
                .to_str()
                .and_then(|text| text.strip_prefix(':'))
                .map_or(path.clone(), Into::into);
            if path.is_absolute() { allow(rules, &path, reads) } else { Ok(rules) }
        })?;
    for path in files.iter().copied().flatten() {
        // A terminal, a pipe, /dev/null.
        if !path.is_file() && path.exists() {
            rules = allow(rules, path, AccessFs::WriteFile.into())?;
        }
        // What a link leads to is opened and replaced where it is.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        rules = allow(rules, parent.unwrap_or(Path::new(".")), writes)?;
    }
    match rules.restrict_self().context("the kernel refuses the rules")?.ruleset {
        RulesetStatus::NotEnforced => bail!("this kernel has none (from Linux 5.13 on)"),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

/// What is not there needs no rule, nor do pipes, which Landlock leaves open.
fn allow(
    mut rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    if let Err(error) = (&mut rules).add_rule(PathBeneath::new(opened, access)) {
        log::debug!("Landlock has no rule for {}: {error}", path.display());
    }
    Ok(rules)
}
