//! Processes that run with another environment than the files give them: they were not started again
//! since these were changed.

use std::collections::BTreeMap;

use super::{
    kernel::{Holder, who_is},
    problem::{Code, Problem, Problems},
    variables::{self, Declaration},
};

/// A process and the variables of its environment that tell something about pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Which.
    pub holder: Holder,
    /// Names and values.
    pub variables: BTreeMap<String, String>,
}

/// Compares what runs with what is declared.
pub fn check(running: &[Running], declarations: &[Declaration], problems: &mut Problems) {
    let mut declared: BTreeMap<&str, Vec<&Declaration>> = BTreeMap::new();
    for one in declarations.iter().filter(|one| variables::is_pool(&one.name)) {
        declared.entry(&one.name).or_default().push(one);
    }
    for (name, all) in declared {
        // A process and its children have the same.
        let mut told: BTreeMap<Option<&str>, Vec<&Holder>> = BTreeMap::new();
        for one in running {
            let value = one.variables.get(name).map(String::as_str);
            let is_same = |declaration: &&Declaration| {
                value.is_some_and(|value| variables::are_same(value, &declaration.value))
            };
            // Whoever reads one of the VPN's variables reads all.
            let reads = value.is_some() || variables::are_read_with(name, one.variables.keys());
            if reads && !all.iter().any(is_same) {
                told.entry(value).or_default().push(&one.holder);
            }
        }
        for (value, holders) in told {
            let Some((first, others)) = holders.split_first() else { continue };
            let more = match others.len() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            let runs = match value {
                Some(value) => format!("runs with {name}={value:?}"),
                None => format!("runs without {name}"),
            };
            let one = all[0];
            let who = who_is(Some(first));
            let message = format!("{who}{more} {runs}, and {} says {:?}", one.place, one.value);
            let problem = Problem::warning(Code::Stale, message, one.place.clone()).of([name]);
            problems.push(problem.fix(
                "start it again, so that it gets the new value (`docker compose up -d` makes containers \
                 anew whose variables have changed; `docker compose restart` does not)",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::{problem::Place, variables::Scope};

    fn declaration(name: &str, value: &str) -> Declaration {
        Declaration {
            name: name.to_owned(),
            value: value.to_owned(),
            place: Place { file: ".env".into(), line: Some(7) },
            scope: Scope::File,
        }
    }

    fn messages(variables: &[(&str, &str)]) -> Vec<String> {
        let declarations = [
            declaration("GLUETUN_PORT_RANGE_1", "19000-19499"),
            declaration("GLUETUN_PORT_RANGE_2", "19500-19999"),
            declaration("PORT_RANGE", "21000-31000"),
            declaration("VPN_MODE", "redundant"),
        ];
        let holder = Holder {
            name: "python".to_owned(),
            pid: 7,
            executable: None,
            container: vec!["orchestrator".to_owned()],
        };
        let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let running = Running { holder, variables: variables.collect() };
        let mut problems = Problems::default();
        check(&[running.clone(), running], &declarations, &mut problems);
        problems.sorted().iter().map(|one| one.message.clone()).collect()
    }

    #[test]
    fn a_process_that_runs_with_another_range_or_without_is_named_once() {
        let ranges =
            [("GLUETUN_PORT_RANGE_1", "19000-19499"), ("GLUETUN_PORT_RANGE_2", " 19500-19999")];
        assert_eq!(messages(&ranges), [""; 0]);
        assert_eq!(messages(&[]), [""; 0]);
        assert_eq!(
            messages(&[ranges[0], ("GLUETUN_PORT_RANGE_2", "19500-19899")]),
            [
                "python (pid 7, in orchestrator) and 1 more runs with GLUETUN_PORT_RANGE_2=\"19500-19899\", and \
              .env:7 says \"19500-19999\""
            ]
        );
        let old = messages(&[("GLUETUN_CONTAINER_NAME_2", "gluetun_2")]);
        assert_eq!(old.len(), 2, "{old:?}");
        assert!(old[1].contains("runs without GLUETUN_PORT_RANGE_2"), "{old:?}");
        assert_eq!(messages(&[("PORT_RANGE", "21000-21100")]).len(), 1);
    }
}
