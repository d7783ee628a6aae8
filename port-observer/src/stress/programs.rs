//! Programs that have a table of connections of their own, smaller than their limit of descriptors: what sets
//! it, found on their command line, in their environment, or in their configuration.

use std::fs;

use super::evidence::read;

/// Where a program says how many connections it takes.
struct Known {
    /// How its executable's name begins.
    name: &'static str,
    /// Arguments that the number follows, as the next or after `=`.
    flags: &'static [&'static str],
    /// A variable of its environment.
    variable: Option<&'static str>,
    /// The directive of its configuration.
    directive: Option<&'static str>,
    /// Arguments that the configuration's path follows.
    files: &'static [&'static str],
    /// Its first argument may be that path.
    takes_file_first: bool,
    /// Its usual path.
    usual: Option<&'static str>,
    /// What it is without any of these.
    default: Option<u64>,
    /// What it is called.
    called: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        name: "beam",
        flags: &["-Q", "+Q"],
        variable: Some("ERL_MAX_PORTS"),
        directive: None,
        files: &[],
        takes_file_first: false,
        usual: None,
        default: None,
        called: "+Q (ERL_MAX_PORTS)",
    },
    Known {
        name: "nginx",
        flags: &[],
        variable: None,
        directive: Some("worker_connections"),
        files: &["-c"],
        takes_file_first: false,
        usual: Some("/etc/nginx/nginx.conf"),
        default: Some(512),
        called: "worker_connections",
    },
    Known {
        name: "haproxy",
        flags: &["-n"],
        variable: None,
        directive: Some("maxconn"),
        files: &["-f"],
        takes_file_first: false,
        usual: Some("/etc/haproxy/haproxy.cfg"),
        default: None,
        called: "maxconn",
    },
    Known {
        name: "redis-server",
        flags: &["--maxclients"],
        variable: None,
        directive: Some("maxclients"),
        files: &[],
        takes_file_first: true,
        usual: None,
        default: Some(10_000),
        called: "maxclients",
    },
];

/// What sets the table of a process, and to how many; `None`: it is no program that is known, or does not say.
/// `typed`: the command that it was started by, where that is known; some write over theirs.
pub fn table(pid: u32, typed: &str) -> Option<(String, u64)> {
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = executable.file_name()?.to_str()?;
    // redis-check-rdb is what redis-server's file is called, where it is a link to it.
    let name = if name.starts_with("redis-") { "redis-server" } else { name };
    let known = KNOWN.iter().find(|known| name.starts_with(known.name))?;
    let shown = read(&format!("/proc/{pid}/cmdline"));
    let words = [typed, &shown]
        .into_iter()
        .flat_map(|text| text.split(|one: char| one == '\0' || one.is_ascii_whitespace()));
    // As a shell would take them, if not all that it would.
    let words = words.map(|word| word.trim_matches(['\'', '"']));
    let words: Vec<String> = words.filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let variables = nul_separated(&read(&format!("/proc/{pid}/environ")));
    let configuration = |path: &str| {
        // Relative to where the program is.
        let path = fs::read_link(format!("/proc/{pid}/cwd")).ok()?.join(path);
        path.to_str().map(read)
    };
    known.number(&words, &variables, &configuration).map(|number| (known.called.to_owned(), number))
}

fn nul_separated(text: &str) -> Vec<String> {
    text.split('\0').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

impl Known {
    fn number(
        &self,
        words: &[String],
        variables: &[String],
        configuration: &dyn Fn(&str) -> Option<String>,
    ) -> Option<u64> {
        let by_flag = after(words, self.flags).find_map(|word| word.parse().ok());
        let by_variable = self.variable.and_then(|name| {
            let value =
                variables.iter().find_map(|one| one.strip_prefix(name)?.strip_prefix('='))?;
            value.parse().ok()
        });
        let by_directive = || {
            let directive = self.directive?;
            let is_it = |word: &&String| self.takes_file_first && word.ends_with(self.name);
            let at = words.iter().position(|word| is_it(&word));
            let first = at.and_then(|at| words.get(at + 1)).map(String::as_str);
            let mut paths = after(words, self.files).chain(first).chain(self.usual);
            paths.find_map(|path| directive_in(&configuration(path)?, directive))
        };
        by_flag.or(by_variable).or_else(by_directive).or(self.default)
    }
}

/// The words after each of these, or behind its `=`.
fn after<'a>(words: &'a [String], flags: &'a [&str]) -> impl Iterator<Item = &'a str> {
    words.iter().enumerate().filter_map(move |(at, word)| {
        flags.iter().find_map(|flag| match word.strip_prefix(flag)? {
            "" => words.get(at + 1).map(String::as_str),
            rest => rest.strip_prefix('='),
        })
    })
}

/// The first value of a directive: a line `name value`, with or without a semicolon, or within braces.
fn directive_in(text: &str, directive: &str) -> Option<u64> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|line| line.split(['{', '}', ';']))
        .find_map(|part| {
            let mut words = part.split_ascii_whitespace();
            (words.next()? == directive).then(|| words.next()?.parse().ok())?
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_table_is_found_where_programs_say_it() {
        let of = |name: &str, command: &str, environment: &str, file: &str| {
            let known = KNOWN.iter().find(|known| known.name == name).unwrap();
            known.number(&words(command), &words(environment), &|_| Some(file.to_owned()))
        };
        assert_eq!(of("beam", "/usr/lib/erlang/beam.smp -Q 1024 -- -root", "", ""), Some(1024));
        assert_eq!(of("beam", "beam.smp -- -root", "ERL_MAX_PORTS=4096", ""), Some(4096));
        assert_eq!(of("beam", "beam.smp -- -root", "HOME=/", ""), None);
        let conf = "# worker_connections 7;\nevents { worker_connections 64; }";
        assert_eq!(of("nginx", "nginx -c /tmp/n.conf", "", conf), Some(64));
        assert_eq!(of("nginx", "nginx", "", "events {}"), Some(512));
        assert_eq!(of("haproxy", "haproxy -f x.cfg", "", "global\n  maxconn 50\n"), Some(50));
        assert_eq!(of("nginx", "bash -c nginx -c /tmp/n.conf", "", conf), Some(64));
        assert_eq!(of("haproxy", "haproxy -n 20 -f x.cfg", "", "global\n"), Some(20));
        assert_eq!(of("redis-server", "redis-server --maxclients 32", "", ""), Some(32));
        let conf = "maxclients 40";
        assert_eq!(of("redis-server", "exec /usr/bin/redis-server /r.conf", "", conf), Some(40));
        assert_eq!(of("redis-server", "redis-server *:6379", "", ""), Some(10_000));
    }
}
