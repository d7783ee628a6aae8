//! From single probes to the whole backend.

use anyhow::{Error, Result, anyhow};

use super::table::{Backend, Need, Probe};

/// Whether a backend can be used, and what it misses.
pub struct Verdict {
    backend: Backend,
    missing: Vec<String>,
    /// Sets of probes of which one is enough, each with the error that it still has.
    groups: Vec<(&'static str, Option<Error>)>,
}

impl Verdict {
    /// Before the first probe.
    pub fn new(backend: Backend) -> Self {
        Self { backend, missing: Vec::new(), groups: Vec::new() }
    }

    /// Takes what became of a probe.
    ///
    /// # Errors
    /// When the backend can't do without it.
    pub fn add(&mut self, probe: &Probe, result: Result<bool>) -> Result<()> {
        let hook = probe.hook;
        match (probe.need, result) {
            (Need::OneOf(name), result) => {
                let at = self.groups.iter().position(|group| group.0 == name);
                let at = at.unwrap_or_else(|| {
                    let none = anyhow!("this kernel has none of the functions to attach to");
                    self.groups.push((name, Some(none)));
                    self.groups.len() - 1
                });
                match result {
                    Ok(true) => self.groups[at].1 = None,
                    Ok(false) => {}
                    Err(error) if self.groups[at].1.is_some() => self.groups[at].1 = Some(error),
                    Err(_) => {}
                }
            }
            (_, Ok(_)) => {}
            (Need::Optional(lost), Err(error)) => {
                log::debug!("{hook} is left out: {error:#}");
                if !self.missing.iter().any(|m| m == lost) {
                    self.missing.push(lost.to_owned());
                }
            }
            (Need::Required | Need::WithSymbol(_) | Need::States, Err(error)) => {
                return Err(error.context(format!("{hook} can't be used")));
            }
        }
        Ok(())
    }

    /// What the backend misses on this kernel, a sentence each.
    ///
    /// # Errors
    /// When of probes that give the same there is none.
    pub fn finish(mut self) -> Result<Vec<String>> {
        for (name, error) in self.groups {
            if let Some(error) = error {
                return Err(error.context(format!("no probe sees {name}")));
            }
        }
        self.missing.splice(0..0, self.backend.missing().iter().map(|&m| m.to_owned()));
        Ok(self.missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Hook;

    const fn probe(need: Need) -> Probe {
        Probe { program: "p", hook: Hook::Fentry("f"), need }
    }

    #[test]
    fn an_optional_probe_that_fails_is_told_once_as_missing() {
        let mut verdict = Verdict::new(Backend::Fexit);
        for _ in 0..2 {
            verdict.add(&probe(Need::Optional("this")), Err(anyhow!("no"))).unwrap();
        }
        let always = Backend::Fexit.missing();
        assert_eq!(verdict.finish().unwrap(), [always, &["this"]].concat());
    }

    #[test]
    fn a_required_probe_that_fails_fails_the_backend_with_its_name() {
        let mut verdict = Verdict::new(Backend::Fexit);
        let error = verdict.add(&probe(Need::Required), Err(anyhow!("no"))).unwrap_err();
        assert_eq!(format!("{error:#}"), "fentry:f can't be used: no");
    }

    #[test]
    fn one_probe_of_a_group_is_enough_and_needed() {
        let probe = probe(Need::OneOf("TIME_WAIT"));
        for results in [[true, false], [false, true]] {
            let mut verdict = Verdict::new(Backend::Fexit);
            for good in results {
                let result = if good { Ok(true) } else { Err(anyhow!("no function")) };
                verdict.add(&probe, result).unwrap();
            }
            assert_eq!(verdict.finish().unwrap(), Backend::Fexit.missing());
        }
        let mut verdict = Verdict::new(Backend::Fexit);
        verdict.add(&probe, Ok(false)).unwrap();
        let error = verdict.finish().unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "no probe sees TIME_WAIT: this kernel has none of the functions to attach to"
        );
    }
}
