//! Port ranges that applications declare, checked against each other, against the files that map them,
//! and against the kernel. Pure: files come in as text, the kernel's side as data; problems come out.

mod compose;
mod env;
mod firewall;
mod interpolation;
pub mod json;
mod kernel;
mod mapping;
mod pool;
mod ports;
mod problem;
mod range;
mod rules;
mod stale;
mod state;
mod telephony;
pub mod text;
mod toml;
mod variables;
pub mod watch;
mod well_known;
mod yaml;

use std::{collections::HashMap, io, path::Path, sync::Arc};

use self::{compose::Services, env::Variables, variables::Declaration};
pub use self::{
    firewall::{Firewall, OfNamespace, Unread},
    kernel::{Facts, Held, Holder, who_is},
    pool::{Parity, Pool, Protocols, Scope},
    ports::PortSet,
    problem::{Code, Place, Problem, Problems, Severity},
    stale::Running,
    state::{Share, State},
    telephony::Server,
    variables::is_read,
};

/// Pools that are looked at; of more, that is a problem.
const MOST_POOLS: usize = 1_000;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `pools.toml`
    Toml,
    /// A file of Compose.
    Compose,
    /// The file of a server of media.
    Telephony(Server),
    /// Variables, a line each, as Compose reads them.
    Env,
}

impl Kind {
    /// By the end of its name.
    pub fn of(name: &str) -> Self {
        match name.rsplit('/').next() {
            Some("rtp.conf") => return Self::Telephony(Server::Asterisk),
            Some("rtpengine.conf") => return Self::Telephony(Server::Rtpengine),
            _ => {}
        }
        let end = name.rsplit_once('.').map_or("", |(_, end)| end).to_ascii_lowercase();
        match &*end {
            "toml" => Self::Toml,
            "yaml" | "yml" => Self::Compose,
            _ => Self::Env,
        }
    }
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct File {
    /// As it was named.
    pub name: Arc<str>,
    /// What it is.
    pub kind: Kind,
    /// Of a file of Compose: the directory of its project; `None`: its own.
    pub project: Option<String>,
    /// What is in it, or why that can't be known.
    pub text: Result<String, String>,
}

/// What files refer to.
pub struct Outside<'a> {
    /// The variables that the caller's environment has: they come before those of files.
    pub shell: &'a dyn Fn(&str) -> Option<String>,
    /// What is in another file.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// What a file of variables sets one to.
pub fn value_of(name: &str, text: &str, shell: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let variables = Variables::read(&"".into(), text, shell, &mut Problems::default());
    variables.list.into_iter().rev().find(|one| one.name == name)?.value
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The pools, as they are declared.
    pub pools: Vec<Pool>,
    /// What is wrong.
    pub problems: Problems,
    /// What declares and covers pools in files of variables and of Compose.
    declarations: Vec<Declaration>,
    /// How many problems say that the caller lacks a privilege.
    forbidden: usize,
}

impl Verdict {
    /// Reads the files and holds them against each other. Files of variables are what those of Compose
    /// refer to, a later one before an earlier one.
    pub fn of_files(files: &[File], outside: &Outside<'_>) -> Self {
        let mut problems = Problems::default();
        let mut pools = Vec::new();
        let mut declarations = Vec::new();
        let mut texts = Vec::new();
        for file in files {
            match &file.text {
                Ok(text) => texts.push((file, text)),
                Err(reason) => {
                    let message = format!("can't be read: {reason}");
                    let fix = "name a text file that you may read";
                    let place = Place { file: file.name.clone(), line: None };
                    problems.push(Problem::error(Code::InvalidFile, message, place).fix(fix));
                }
            }
        }
        let of = |kind: Kind| texts.iter().filter(move |(file, _)| file.kind == kind);
        for (file, text) in of(Kind::Toml) {
            pools.extend(toml::read(&file.name, text, &mut problems));
        }
        for (file, text) in &texts {
            if let Kind::Telephony(server) = file.kind {
                pools.extend(telephony::read(server, &file.name, text, &mut problems));
            }
        }
        let mut set = HashMap::new();
        for (file, text) in of(Kind::Env) {
            let variables = Variables::read(&file.name, text, outside.shell, &mut problems);
            declarations.extend(Declaration::of_file(&variables));
            let values = variables.list.into_iter();
            set.extend(values.filter_map(|one| Some((one.name, one.value?))));
        }
        let lookup = |name: &str| (outside.shell)(name).or_else(|| set.get(name).cloned());
        let mut services = Services::new();
        let of_compose: Vec<compose::File<'_>> = of(Kind::Compose)
            .map(|(file, text)| compose::File {
                name: &file.name,
                text: text.as_str(),
                project: file.project.as_deref(),
            })
            .collect();
        let read = compose::read(&of_compose, &lookup, outside, &mut services, &mut problems);
        declarations.extend(read);
        let covers = variables::read(&declarations, &mut pools, &mut problems);
        if pools.len() > MOST_POOLS {
            let message = format!("{} pools: only the first {MOST_POOLS} are checked", pools.len());
            let place = pools[MOST_POOLS].place.clone();
            problems.push(Problem::error(Code::TooMany, message, place));
            pools.truncate(MOST_POOLS);
        }
        rules::size(&pools, &mut problems);
        rules::overlap(&pools, &mut problems);
        rules::cover(&pools, &covers, &mut problems);
        well_known::check(&pools, &mut problems);
        mapping::check(&pools, &services, &mut problems);
        mapping::mark_forwarded(&mut pools, &services);
        // Which services map it is not said, so that nothing of that is checked.
        pools.extend(variables::global(&declarations, &covers, &pools));
        Self { pools, problems, declarations, forbidden: 0 }
    }

    /// Whether a variable declares anything: then what runs is compared with it.
    pub fn has_variables(&self) -> bool {
        !self.declarations.is_empty()
    }

    /// The same, with what the environments of processes have.
    pub fn with_running(mut self, running: &[Running]) -> Self {
        stale::check(running, &self.declarations, &mut self.problems);
        self
    }

    /// The same, with what the kernel says of each network namespace that pools are in.
    pub fn with_kernel(mut self, facts: &[Facts]) -> Self {
        facts.iter().for_each(|one| kernel::check(&self.pools, one, &mut self.problems));
        self
    }

    /// The same, with the packet filter of each network namespace that pools are in.
    pub fn with_firewalls(mut self, firewalls: &[OfNamespace]) -> Self {
        for one in firewalls {
            self.forbidden += usize::from(firewall::check(&self.pools, one, &mut self.problems));
        }
        self
    }

    /// How many warnings there are but for those that say what the caller lacks a privilege for.
    pub fn warnings(&self) -> usize {
        self.problems.count(Severity::Warning).saturating_sub(self.forbidden)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, proptest};

    use super::*;

    /// Pieces of which files are made, in any order.
    fn text() -> impl Strategy<Value = String> {
        const PIECES: [&str; 54] = [
            "[[pool]]\n",
            "name",
            "range",
            " = ",
            "\"",
            "'",
            "21000",
            "-",
            "65535",
            "0",
            "65536",
            "\n",
            ",",
            "[",
            "]",
            "{",
            "}",
            "units",
            "exclude",
            "parity",
            "pair",
            "PORT_RANGE",
            "PORT_RANGE_HOST",
            "GLUETUN_PORT_RANGE_1",
            "GLUETUN_CONTAINER_NAME_2",
            "_",
            "=",
            "$",
            "${",
            ":-",
            ":?",
            "services:\n",
            "  a:\n",
            "    ports:\n",
            "      - ",
            ":",
            "/udp",
            "&x ",
            "*x",
            "<<: ",
            "network_mode: service:a\n",
            "environment:\n",
            "env_file: b\n",
            "    extends: ",
            "{service: a, file: x.yml}\n",
            "include: [x.yml, compose.yaml]\n",
            "!reset ",
            "!override ",
            "    profiles: [a]\n",
            "#",
            "\\",
            "\u{202e}",
            "ä",
            "[general]\nrtpend",
        ];
        prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60).prop_map(|all| all.concat())
    }

    proptest! {
        #[test]
        fn any_files_end_in_an_answer(
            (texts, arbitrary) in (prop::collection::vec(text(), 5), any::<String>()),
        ) {
            let names = ["pools.toml", "compose.yaml", "a/.env", "rtp.conf", "rtpengine.conf", "x.yml"];
            let file = |(name, text): (&&str, String)| {
                File {
                    name: (*name).into(),
                    kind: Kind::of(name),
                    project: None,
                    text: Ok(text),
                }
            };
            let read = |_: &Path| Ok(texts[2].clone());
            let outside = Outside { shell: &|_| None, read: &read };
            for texts in [texts.clone(), vec![arbitrary; 6]] {
                let files: Vec<File> = names.iter().zip(texts).map(file).collect();
                let verdict = Verdict::of_files(&files, &outside);
                let json = json::render(&verdict).unwrap();
                assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
                assert!(!text::render(&verdict).contains('\u{202e}'));
            }
        }
    }
}
