//! The ranges of seed 000, and of files of pools in general.

use crate::directory::{Directory, Range, Source};

fn media(range: &str) -> String {
    format!(
        "[[pool]]\nname = \"media\"\nrange = \"{range}\"\nprotocol = \"udp\"\nunits = 50\nports_per_unit = 4\n\
         parity = \"pair\"\n\n[[pool]]\nname = \"asterisk\"\nrange = \"10000-20000\"\nprotocol = \"udp\"\n"
    )
}

#[test]
fn a_hundred_ports_are_room_for_25_relayed_calls_and_ten_thousand_for_50() {
    let directory = Directory::of(&[("pools.toml", &media("21000-21100"))]);
    let (answer, code) = directory.check(&[]);
    assert_eq!((answer.errors(), code), (vec![("too_small", "pools.toml", 3)], 1));
    let problem = answer.only("too_small");
    assert!(problem.message.contains("101 ports, 100 of them in pairs, room for 25 units"));
    assert_eq!(problem.fix.as_deref(), Some("widen it to 21000-21199 or more"));
    assert_eq!(problem.pools, ["media"]);
    let pool = &answer.pools[0];
    assert_eq!((&*pool.name, pool.ports, pool.needed), ("media", 101, Some(200)));
    assert_eq!((&pool.range, &*pool.protocol), (&Range { min: 21_000, max: 21_100 }, "udp"));
    assert_eq!(pool.source, Source { file: "pools.toml".to_owned(), line: Some(3) });

    // The same widened by as much as it says, and the seed's own range.
    for range in ["21000-21199", "21000-31000"] {
        let directory = Directory::of(&[("pools.toml", &media(range))]);
        let (answer, code) = directory.check(&["pools.toml"]);
        assert_eq!((answer.errors(), code), (Vec::new(), 0), "{range}");
    }
    let directory = Directory::of(&[("pools.toml", &media("20000-31000"))]);
    let (answer, code) = directory.check(&[]);
    assert_eq!((answer.errors(), code), (vec![("overlap", "pools.toml", 11)], 1));
    assert!(answer.only("overlap").message.contains("both have port 20000"));
}

/// As the seed's fix was half done: the file of variables says one range, and Compose another.
#[test]
fn values_of_one_variable_are_checked_each_and_do_not_overlap_with_each_other() {
    let compose = "services:\n  ari:\n    environment:\n      - PORT_RANGE=21000-21100\n    ports:\n      \
                   - \"21000-21100:21000-21100/udp\"\n";
    let files = [
        ("pools.toml", &*media("21000-21100")),
        (".env", "PORT_RANGE=21000-31000\n"),
        ("compose.yaml", compose),
    ];
    let (answer, code) = Directory::of(&files).check(&[]);
    let errors = [("too_small", "pools.toml", 3), ("not_mapped", ".env", 1)];
    assert_eq!((answer.errors(), code), (errors.to_vec(), 1), "{answer:#?}");
    assert_eq!(answer.only("mismatch").line, Some(4));
    let names: Vec<&str> = answer.pools.iter().map(|pool| &*pool.name).collect();
    assert_eq!(names, ["media", "asterisk", "media"]);
}

#[test]
fn a_file_of_pools_that_makes_no_sense_is_named_with_its_line() {
    for (text, line, word) in [
        ("[[pool]]\nname = \"a\"\nrange = \"5-1\"\n", 3, "Invalid range format"),
        ("[[pool]]\nname = \"a\"\nrange = 5\n", 3, "Invalid range format"),
        ("[[pool]]\nname = \"a\"\nrange = [\"1-2\",\n\"0-5\"]\n", 4, "Invalid range format"),
        ("[[pool]]\nname = \"a\"\nrange = []\n", 3, "Invalid range format"),
        ("[[pool]]\nname = \"a\"\nrange = \"1-2\"\nsize = 5\n", 4, "size"),
        ("[[pool]]\nname = \"a\"\n", 1, "range"),
        ("[[pool]]\nname = \"a\"\nrange = \"1-2\"\nports_per_unit = 0\n", 4, "ports_per_unit"),
        ("[[pool]]\nname = \"a\"\nrange = \"1-2\"\nparity = \"odd\"\n", 4, "odd"),
        ("[[pool]\n", 1, ""),
    ] {
        let (answer, code) = Directory::of(&[("pools.toml", text)]).check(&[]);
        let errors = answer.errors();
        assert_eq!((errors.len(), code), (1, 1), "{text}: {errors:?}");
        assert_eq!((errors[0].1, errors[0].2), ("pools.toml", line), "{text}");
        assert!(answer.problems[0].message.contains(word), "{text}: {answer:?}");
        assert!(answer.problems[0].fix.is_some(), "{text}");
    }
}

#[test]
fn what_is_not_there_is_said_and_names_of_others_do_not_drive_the_terminal() {
    let output = Directory::of(&[]).run(&[]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("nothing to check") && message.contains("compose.yaml"), "{message}");
    let (answer, code) = Directory::of(&[]).check(&["no.toml"]);
    assert_eq!((answer.errors(), code), (vec![("invalid_file", "no.toml", 0)], 1));
    let text = "[[pool]]\nname = \"\\u001b[31m\"\nrange = \"5-1\"\n";
    let output = Directory::of(&[("pools.toml", text)]).run(&[]);
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("\\x1b[31m") && !shown.contains('\x1b'), "{shown}");
}
