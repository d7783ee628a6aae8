//! Seed 003: its own configuration, extracted from the document, and each mistake that it warns of.

use crate::directory::{Answer, Directory, Pool};

const SEED: &str = include_str!("seed_003.md");

/// The first block of code of this language below a heading.
fn block(heading: &str, language: &str) -> String {
    let below = &SEED[SEED.find(heading).unwrap()..];
    let fence = format!("```{language}\n");
    let begin = below.find(&fence).unwrap() + fence.len();
    let end = begin + below[begin..].find("```").unwrap();
    below[begin..end].to_owned()
}

fn variables() -> String {
    block("### Environment Variables", "bash")
}

fn compose() -> String {
    block("### Docker Compose", "yaml")
}

/// The configuration with something else in it.
fn changed(of: &str, to: &str) -> Directory {
    let (env, yaml) = (variables(), compose());
    assert!(env.contains(of) || yaml.contains(of), "{of}");
    Directory::of(&[(".env", &env.replace(of, to)), ("docker-compose.yml", &yaml.replace(of, to))])
}

fn errors(of: &str, to: &str) -> (Answer, Vec<String>) {
    let (answer, code) = changed(of, to).check(&[]);
    let codes: Vec<String> =
        answer.errors().iter().map(|(code, _, _)| (*code).to_owned()).collect();
    assert_eq!(code, i32::from(!codes.is_empty()), "{answer:#?}");
    for problem in &answer.problems {
        assert!(problem.fix.is_some() && problem.file.is_some() && problem.line.is_some());
    }
    (answer, codes)
}

#[test]
fn the_configuration_of_the_seed_is_valid_as_it_stands() {
    let (answer, codes) = errors("19000", "19000");
    assert_eq!(codes, [""; 0]);
    let pools: Vec<(&str, u32, u16)> =
        answer.pools.iter().map(|pool| (&*pool.name, pool.ports, pool.range.min)).collect();
    assert_eq!(pools, [("gluetun", 500, 19_000), ("gluetun_2", 500, 19_500)]);
    let of_files: Vec<&str> = answer
        .problems
        .iter()
        .filter(|one| one.code != "in_use" && one.code != "ephemeral")
        .map(|one| &*one.message)
        .collect();
    assert_eq!(of_files, [""; 0]);
}

#[test]
fn a_range_that_is_not_set_is_missed_wherever_it_is_missed() {
    // In neither file.
    let (answer, codes) = errors("GLUETUN_PORT_RANGE_2=", "GLUETUN_PORTS_2=");
    assert_eq!(codes, ["missing_range", "missing_range"]);
    // Whoever has ports of the pools on this machine is another matter.
    for problem in answer.problems.iter().filter(|one| one.code == "missing_range") {
        assert!(
            problem.message.contains("GLUETUN_PORT_RANGE_2 is not set for the container gluetun_2")
        );
        assert!(problem.fix.as_ref().unwrap().contains("GLUETUN_PORT_RANGE_2=MIN-MAX"));
        assert!(problem.fix.as_ref().unwrap().contains("restart"));
    }
    // In .env alone, which does not reach the container.
    let (answer, codes) = errors("      - GLUETUN_PORT_RANGE_2=19500-19999\n", "");
    assert_eq!(codes, ["missing_range"]);
    assert!(
        answer.problems[0]
            .message
            .contains(".env:8 sets it, which does not reach the service orchestrator")
    );
    // Without any, there is one global pool.
    let env = "VPN_MODE=redundant\nGLUETUN_CONTAINER_NAME=a\nGLUETUN_CONTAINER_NAME_2=b\n";
    let (answer, code) = Directory::of(&[(".env", env)]).check(&[]);
    let ranges = answer.problems.iter().filter(|one| one.code == "missing_range");
    assert_eq!((ranges.count(), code), (2, 0), "{answer:#?}");
    assert!(answer.problems[0].message.contains("one global pool from 19000"));
    let global = |answer: &Answer| -> Vec<(String, u16, u16)> {
        let range = |pool: &Pool| (pool.name.clone(), pool.range.min, pool.range.max);
        answer.pools.iter().map(range).collect()
    };
    assert_eq!(global(&answer), [("global".to_owned(), 19_000, 19_999)]);
    // As far as the ports are mapped.
    for (covered, max) in [("19000-19099", 19_099), ("18000-18099", 19_999)] {
        let env = format!("GLUETUN_CONTAINER_NAME=a\nPORT_RANGE_HOST={covered}\n");
        let (answer, code) = Directory::of(&[(".env", &env)]).check(&[]);
        assert_eq!((global(&answer), code), (vec![("global".to_owned(), 19_000, max)], 0));
    }
    // Where one has a range, there is none for all.
    let env =
        "GLUETUN_CONTAINER_NAME=a\nGLUETUN_CONTAINER_NAME_2=b\nGLUETUN_PORT_RANGE_1=19000-19009\n";
    let (answer, _) = Directory::of(&[(".env", env)]).check(&[]);
    assert_eq!(global(&answer), [("a".to_owned(), 19_000, 19_009)]);
}

#[test]
fn a_range_that_is_not_the_one_that_is_mapped_is_told_with_both_places() {
    let (answer, codes) = errors("\"19500-19999:19500-19999\"", "\"19500-19899:19500-19899\"");
    assert_eq!(codes, ["not_mapped"]);
    let problem = answer.only("not_mapped");
    assert_eq!(problem.pools, ["gluetun_2"]);
    assert_eq!((problem.file.as_deref(), problem.line), (Some(".env"), Some(8)));
    assert!(problem.message.contains("does not publish 19900-19999, 100 ports"), "{problem:?}");
    assert!(problem.fix.as_ref().unwrap().contains("- \"19500-19999:19500-19999\""));

    let (answer, codes) = errors("\"19500-19999:19500-19999\"", "\"19500-19999:19000-19499\"");
    assert_eq!(codes, ["not_mapped"]);
    assert!(answer.only("not_mapped").message.contains("other ports inside than outside"));

    // Both swapped: neither is mapped, and each is mapped by the other.
    let text = compose().replace("\"19000-19499:19000-19499\"", "\"X\"");
    let text = text.replace("\"19500-19999:19500-19999\"", "\"19000-19499:19000-19499\"");
    let text = text.replace("\"X\"", "\"19500-19999:19500-19999\"");
    let (answer, _) = Directory::of(&[(".env", &variables()), ("compose.yml", &text)]).check(&[]);
    let mut codes: Vec<&str> = answer.errors().iter().map(|one| one.0).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["mapped_elsewhere", "mapped_elsewhere", "not_mapped", "not_mapped"]);

    // A container that no service is.
    let (answer, codes) = errors("=gluetun_2\n", "=gluetun_3\n");
    assert_eq!(codes, ["not_mapped"]);
    assert!(answer.only("not_mapped").message.contains("no service is called gluetun_3"));
}

#[test]
fn ranges_that_are_too_small_for_the_replicas_are_told() {
    let with = |count: u32| {
        let env = format!("{}MAX_ACTIVE_REPLICAS={count}\n", variables());
        Directory::of(&[(".env", &env), ("compose.yml", &compose())]).check(&[]).0
    };
    assert_eq!(with(1_000).errors(), []);
    let answer = with(1_001);
    let codes: Vec<&str> = answer.errors().iter().map(|one| one.0).collect();
    assert_eq!(codes, ["too_small", "too_small"], "{answer:#?}");
    let message = &answer.problems[0].message;
    assert!(message.contains("\"No available ports in Gluetun port range\""), "{message}");
}

#[test]
fn ranges_that_overlap_or_are_not_covered_are_told() {
    let (answer, codes) = errors("19500-19999", "19400-19999");
    // The mappings overlap with them.
    assert_eq!(codes, ["overlap", "mapped_elsewhere", "mapped_elsewhere"]);
    assert!(answer.only("overlap").message.contains("both have 19400-19499, 100 ports"));
    // Both for one container.
    let env = "GLUETUN_CONTAINER_NAME=a\nGLUETUN_CONTAINER_NAME_2=a\nGLUETUN_PORT_RANGE_1=19000-19499\n\
               GLUETUN_PORT_RANGE_2=19499-19999\n";
    let (answer, _) = Directory::of(&[(".env", env)]).check(&[]);
    assert_eq!(answer.errors(), [("overlap", ".env", 4)]);
    // What a file of pools says of the same container is joined with it.
    let pools = "[[pool]]\nname = \"first\"\nrange = \"19000-19009\"\ncontainer = \"a\"\n";
    let env =
        "GLUETUN_CONTAINER_NAME=a\nGLUETUN_PORT_RANGE_1=19000-19009\nMAX_ACTIVE_REPLICAS=11\n";
    let (answer, _) = Directory::of(&[("pools.toml", pools), (".env", env)]).check(&[]);
    assert_eq!((answer.errors(), answer.pools.len()), (vec![("too_small", "pools.toml", 3)], 1));
    let (answer, codes) = errors("PORT_RANGE_HOST=19000-19999", "PORT_RANGE_HOST=19000-19998");
    assert_eq!(codes, ["not_covered"]);
    let fix = answer.only("not_covered").fix.clone().unwrap();
    assert!(fix.contains("PORT_RANGE_HOST=19000-19999"), "{fix}");
}

#[test]
fn a_range_of_another_format_is_told_in_the_words_of_the_seed() {
    for wrong in ["19000:19499", "19000", "a-b", "19499-19000", "0-19499", "19000-65536", "19000-"]
    {
        let (answer, code) = changed("=19000-19499", &format!("={wrong}")).check(&[]);
        let invalid: Vec<_> =
            answer.errors().into_iter().filter(|one| one.0 == "invalid_range").collect();
        assert_eq!(
            invalid,
            [("invalid_range", ".env", 7), ("invalid_range", "docker-compose.yml", 24)],
            "{wrong}"
        );
        assert_eq!(
            (
                code,
                answer
                    .problems
                    .iter()
                    .filter(|one| one.message.starts_with("Invalid GLUETUN_PORT_RANGE_1 format"))
                    .count()
            ),
            (1, 2)
        );
    }
}

#[test]
fn files_that_disagree_are_told() {
    let env = variables().replace("19500-19999", "19500-19899");
    let (answer, code) = Directory::of(&[(".env", &env), ("compose.yml", &compose())]).check(&[]);
    let problem = answer.only("mismatch");
    assert_eq!((&*problem.severity, code), ("warning", 0), "{answer:#?}");
    assert!(problem.message.contains("\"19500-19999\" here and \"19500-19899\" in .env:8"));
    let strict = Directory::of(&[(".env", &env), ("compose.yml", &compose())]).run(&["--strict"]);
    assert_eq!(strict.status.code(), Some(1));
}
