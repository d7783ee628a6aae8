//! The files that declare and map ranges: which there are, and what is in them.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use crate::{
    kernel::rights::as_caller,
    pools::{self, Kind},
};

/// How much is read of a file.
const MOST_BYTES: u64 = 1 << 20;
/// How many files are read.
const MOST_FILES: usize = 100;

/// What is looked for in a directory. Of the files of Compose the first counts, with its override, as for
/// Compose itself.
const POOLS: &str = "pools.toml";
const COMPOSE: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
const VARIABLES: &str = ".env";
/// What names the files of Compose in place of these, and what is between their names.
const COMPOSE_FILE: &str = "COMPOSE_FILE";
const COMPOSE_PATH_SEPARATOR: &str = "COMPOSE_PATH_SEPARATOR";
/// What names the files of variables in place of that one, with commas between them. Only the shell can.
const COMPOSE_ENV_FILES: &str = "COMPOSE_ENV_FILES";

/// Reads these files; without any, what lies in the current directory.
///
/// # Errors
/// When there are none, or too many.
pub fn read(named: &[PathBuf]) -> Result<Vec<pools::File>> {
    let shell = |name: &str| std::env::var(name).ok();
    let (found, project) = match named {
        [] => found(Path::new(""), &shell),
        named => (with_variables(named, &shell), None),
    };
    if found.is_empty() {
        bail!(
            "there is nothing to check: no {POOLS}, {} or {VARIABLES} lies in the current directory; name \
             the files, or see `port-observer pools check --help` for what is in them",
            COMPOSE.join(", ")
        );
    }
    if found.len() > MOST_FILES {
        bail!("{} files: {MOST_FILES} at most are checked together", found.len());
    }
    let of = |path: &PathBuf| pools::File { project: project.clone(), ..of_path(path) };
    Ok(found.iter().map(of).collect())
}

/// The files of variables that the shell names for Compose, a later one before an earlier one; empty: it names
/// none.
fn named_variables(directory: &Path, shell: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let names = shell(COMPOSE_ENV_FILES).unwrap_or_default();
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| directory.join(name)).collect()
}

/// These, and where there are some of Compose and none of variables, those that Compose reads: which the shell
/// names, or the one beside the first.
fn with_variables(named: &[PathBuf], shell: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let mut found = named.to_vec();
    let is_of = |kind: Kind| move |path: &&PathBuf| Kind::of(&path.display().to_string()) == kind;
    let compose = named.iter().find(is_of(Kind::Compose));
    if let Some(compose) = compose.filter(|_| named.iter().find(is_of(Kind::Env)).is_none()) {
        let variables = named_variables(Path::new(""), shell);
        let beside = compose.with_file_name(VARIABLES);
        if !variables.is_empty() {
            found.extend(variables);
        } else if as_caller(|| beside.symlink_metadata().is_ok()) {
            found.push(beside);
        }
    }
    found
}

/// What lies in a directory, and which one Compose's project is in, if files of others make it.
fn found(
    directory: &Path,
    shell: &dyn Fn(&str) -> Option<String>,
) -> (Vec<PathBuf>, Option<String>) {
    let is_there = |name: &str| as_caller(|| directory.join(name).symlink_metadata().is_ok());
    let mut variables = named_variables(directory, shell);
    if variables.is_empty() && is_there(VARIABLES) {
        variables.push(directory.join(VARIABLES));
    }
    let texts: Vec<String> = variables.iter().map(|path| text(path).unwrap_or_default()).collect();
    let value = |name: &str| {
        let mut texts = texts.iter().rev();
        let value = texts.find_map(|text| pools::value_of(name, text, shell));
        shell(name).or(value).filter(|value| !value.is_empty())
    };
    if let Some(files) = value(COMPOSE_FILE) {
        let separator = value(COMPOSE_PATH_SEPARATOR).unwrap_or_else(|| ":".to_owned());
        let files = files.split(&*separator).filter(|name| !matches!(*name, "" | "-"));
        let files: Vec<PathBuf> = files.map(|name| directory.join(name)).collect();
        let project = files.first().and_then(|first| first.parent());
        let project = project.map(|project| project.display().to_string());
        let of = |name: &str| is_there(name).then(|| directory.join(name));
        return (of(POOLS).into_iter().chain(files).chain(variables).collect(), project);
    }
    let mut names = vec![POOLS.to_owned()];
    if let Some(first) = COMPOSE.into_iter().find(|name| is_there(name)) {
        names.push(first.to_owned());
        let (stem, _) = first.rsplit_once('.').unwrap_or((first, ""));
        names.extend(["yaml", "yml"].map(|end| format!("{stem}.override.{end}")));
    }
    names.retain(|name| is_there(name));
    let names = names.into_iter().map(|name| directory.join(name));
    (names.chain(variables).collect(), None)
}

/// Reads one file.
pub fn of_path(path: &Path) -> pools::File {
    let name = path.display().to_string();
    let kind = Kind::of(&name);
    let text = text(path).map_err(|error| error.to_string());
    pools::File { name: name.into(), kind, project: None, text }
}

/// What is in a file, with the rights of who names it.
pub fn text(path: &Path) -> io::Result<String> {
    as_caller(|| whole(path))
}

fn whole(path: &Path) -> io::Result<String> {
    // A pipe would wait for its other end.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file: File = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it is larger than {} KiB", MOST_BYTES >> 10)));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_lies_in_a_directory_is_found_as_compose_finds_it() {
        let directory = tempfile::tempdir().unwrap();
        let names = || -> Vec<String> {
            let (found, _) = found(directory.path(), &|_| None);
            found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into()).collect()
        };
        assert_eq!(names(), [""; 0]);
        for name in ["docker-compose.yml", "docker-compose.override.yml", ".env", "other.env"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(names(), ["docker-compose.yml", "docker-compose.override.yml", ".env"]);
        fs::write(directory.path().join("compose.yaml"), "").unwrap();
        fs::write(directory.path().join("pools.toml"), "").unwrap();
        assert_eq!(names(), ["pools.toml", "compose.yaml", ".env"]);
        // A variable of Compose's names others, first that of the shell.
        fs::write(directory.path().join(".env"), "COMPOSE_FILE=base/a.yml:b.yml\n").unwrap();
        assert_eq!(names(), ["pools.toml", "a.yml", "b.yml", ".env"]);
        let shell = |name: &str| match name {
            COMPOSE_FILE => Some("c.yml;base/d.yml".to_owned()),
            COMPOSE_PATH_SEPARATOR => Some(";".to_owned()),
            _ => None,
        };
        let (found, project) = found(directory.path(), &shell);
        assert_eq!(found[1..3], ["c.yml", "base/d.yml"].map(|name| directory.path().join(name)));
        assert_eq!(project, Some(directory.path().display().to_string()));
    }

    #[test]
    fn the_shell_names_files_of_variables_in_place_of_the_usual_one() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["compose.yaml", ".env"] {
            fs::write(at(name), "").unwrap();
        }
        fs::write(at("base.env"), "COMPOSE_FILE=base.yml\n").unwrap();
        fs::write(at("site.env"), "COMPOSE_FILE=site.yml\n").unwrap();
        let shell = |name: &str| (name == COMPOSE_ENV_FILES).then(|| "base.env, site.env".into());
        // The later one counts.
        let (found, _) = found(directory.path(), &shell);
        assert_eq!(found, ["site.yml", "base.env", "site.env"].map(at));
        let named = with_variables(&[at("compose.yaml")], &shell);
        assert_eq!(named, [at("compose.yaml"), "base.env".into(), "site.env".into()]);
        assert_eq!(with_variables(&[at("compose.yaml")], &|_| None)[1], at(".env"));
    }

    #[test]
    fn what_is_no_text_of_a_file_is_refused_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".env");
        let reason = |path: &Path| of_path(path).text.unwrap_err();
        assert!(reason(&path).contains("No such file"));
        assert!(reason(directory.path()).contains("regular file"));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(reason(&path).contains("regular file"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"A=\xff").unwrap();
        assert!(reason(&path).contains("UTF-8"));
        fs::write(&path, vec![b'#'; (MOST_BYTES + 1) as usize]).unwrap();
        assert!(reason(&path).contains("larger"));
        fs::write(&path, "A=1").unwrap();
        assert_eq!(of_path(&path).text.unwrap(), "A=1");
    }
}
