//! Files of Compose that lead to others: overrides, `extends`, `include`, profiles, and variables of Compose's.

use crate::directory::{Answer, Directory};

const POOLS: &str = "[[pool]]\nname = \"media\"\nrange = \"21000-21009\"\nprotocol = \"udp\"\ncontainer = \"sip\"\n";
const RANGE: &str = "21000-21009:21000-21009/udp";

/// Codes of what is wrong with these files and POOLS, but for what the kernel says.
fn of(files: &[(&str, &str)]) -> (Answer, Vec<String>) {
    let all = [&[("pools.toml", POOLS)], files].concat();
    let (answer, _) = Directory::of(&all).check(&[]);
    let is_of_kernel =
        |code: &str| matches!(code, "ephemeral" | "in_use" | "not_checked" | "firewall");
    let all = answer.problems.iter().filter(|one| !is_of_kernel(&one.code));
    let codes = all.map(|one| one.code.clone()).collect();
    (answer, codes)
}

/// A service of Compose.
fn service(name: &str, rest: &str) -> String {
    format!("services:\n  {name}:\n    image: x\n{rest}")
}

fn ports(list: &str) -> String {
    format!("    ports: {list}\n")
}

#[test]
fn an_override_adds_ports_takes_them_away_or_replaces_them() {
    let base = service("sip", &ports(&format!("[\"{RANGE}\"]")));
    let none: &[&str] = &[];
    for (over, expected) in [
        ("[\"80:80\"]".to_owned(), none),
        (format!("[\"{RANGE}\"]"), none),
        ("!reset []".to_owned(), &["not_mapped"]),
        ("!reset null".to_owned(), &["not_mapped"]),
        ("!override [\"80:80\"]".to_owned(), &["not_mapped"]),
        ("!override [\"21000-21004:21000-21004/udp\"]".to_owned(), &["not_mapped"]),
        (format!("!override [\"{RANGE}\"]"), none),
        ("!override\n      - target: 21000\n        published: 21000".to_owned(), &["not_mapped"]),
    ] {
        let over = service("sip", &ports(&over));
        let files = [("compose.yaml", &*base), ("compose.override.yaml", &*over)];
        let (answer, codes) = of(&files);
        assert_eq!(codes, expected, "{over}: {answer:#?}");
    }
    let empty = service("sip", "");
    let over = service("sip", &ports(&format!("[\"{RANGE}\"]")));
    assert_eq!(of(&[("compose.yaml", &empty), ("compose.override.yaml", &over)]).1, [""; 0]);
    // A whole service, its network, and its variables.
    for (over, expected) in [
        ("services:\n  sip: !reset null\n  web: {image: x}\n", none),
        ("services:\n  sip: !override {image: y}\n", &["not_mapped"]),
        ("services:\n  sip: {network_mode: host}\n", &["invalid_ports"]),
        ("services:\n  sip: {network_mode: host, ports: !reset []}\n", none),
    ] {
        let (answer, codes) = of(&[("compose.yaml", &base), ("compose.override.yaml", over)]);
        assert_eq!(codes, expected, "{over}: {answer:#?}");
    }
    let variables = service("sip", "    environment: {PORT_RANGE_B: 30000-30001}\n");
    for (over, pools) in [
        ("environment: {PORT_RANGE_B: !reset null}", 1),
        ("environment: !reset {}", 1),
        ("environment: !override {PORT_RANGE_C: 31000-31001}", 2),
        ("environment: {PORT_RANGE_C: 31000-31001}", 3),
    ] {
        let over = service("sip", &format!("    {over}\n"));
        let (answer, _) = of(&[("compose.yaml", &variables), ("compose.override.yaml", &over)]);
        assert_eq!(answer.pools.len(), pools, "{over}: {answer:#?}");
    }
}

#[test]
fn ports_that_an_override_repeats_are_there_once() {
    let many = service("sip", &ports("[\"21000-21300:21000-21300/udp\"]"));
    let files = [("compose.yaml", &*many), ("compose.override.yaml", &*many)];
    // Twice it would be more than 500.
    assert_eq!(of(&files).1, [""; 0]);
    let other = service("sip", &ports("[\"127.0.0.1:21000-21300:21000-21300/udp\"]"));
    let files = [("compose.yaml", &*many), ("compose.override.yaml", &*other)];
    assert_eq!(of(&files).1, ["docker_proxy"]);
}

#[test]
fn a_service_has_what_it_extends_of_the_same_file_or_another() {
    let base = format!("  base:\n    image: x\n    ports: [\"{RANGE}\"]\n");
    for (sip, expected) in [
        ("    extends: {service: base}\n", &["mapped_elsewhere"][..]),
        ("    extends: base\n", &["mapped_elsewhere"]),
        (
            "    extends: {service: base}\n    ports: !reset []\n",
            &["not_mapped", "mapped_elsewhere"],
        ),
        ("", &["not_mapped", "mapped_elsewhere"]),
    ] {
        let text = format!("services:\n{base}  sip:\n    image: x\n{sip}");
        let (answer, codes) = of(&[("compose.yaml", &text)]);
        assert_eq!(codes, expected, "{sip}: {answer:#?}");
    }
    // What is extended in another file is no service of this one.
    let common = format!(
        "services:\n{base}    env_file: base.env\n    environment: [PORT_RANGE_A=30000-30001]\n  \
         more: {{extends: {{service: base}}, ports: [\"80:80\"]}}\n"
    );
    let sip = service(
        "sip",
        "    extends: {file: ./common/base.yaml, service: more}\n    environment: {PORT_RANGE_A: 30004-30005}\n",
    );
    let files = [
        ("compose.yaml", &*sip),
        ("common/base.yaml", &common),
        ("common/base.env", "PORT_RANGE_B=30002-30003\n"),
    ];
    let (answer, codes) = of(&files);
    assert_eq!(codes, ["not_mapped", "not_mapped"], "{answer:#?}");
    let pools: Vec<(&str, &str)> =
        answer.pools.iter().map(|one| (&*one.name, &*one.source.file)).collect();
    let expected = [
        ("media", "pools.toml"),
        ("PORT_RANGE_A", "compose.yaml"),
        ("PORT_RANGE_B", "common/base.env"),
    ];
    assert_eq!(pools, expected);
    assert!(answer.problems.iter().all(|one| one.pools != ["media"]), "{answer:#?}");
}

#[test]
fn what_can_not_be_extended_is_told_with_file_and_line() {
    let circle = "services:\n  a: {extends: {file: ../x/b.yaml, service: b}}\n";
    let back = "services:\n  b:\n    extends: {file: a.yaml, service: a}\n";
    let chain: String = (0..40).map(|n| format!("  s{n}: {{extends: s{}}}\n", n + 1)).collect();
    let chain = format!("services:\n{chain}  s40: {{}}\n");
    for (text, file, line, why) in [
        ("services:\n  sip: {extends: sip}\n", "compose.yaml", 2, "in a circle: sip, sip"),
        ("services:\n  a: {extends: b}\n  b: {extends: a}\n", "compose.yaml", 3, "in a circle"),
        ("services:\n  a: {extends: b}\n", "compose.yaml", 2, "which compose.yaml has not"),
        (
            "services:\n  a:\n    extends:\n      file: no.yaml\n      service: b\n",
            "compose.yaml",
            3,
            "can't be read",
        ),
        (
            "services:\n  a: {extends: {file: x/a.yaml, service: no}}\n",
            "compose.yaml",
            2,
            "x/a.yaml has not",
        ),
        (
            "services:\n  a: {extends: {file: x/a.yaml, service: a}}\n",
            "x/b.yaml",
            3,
            "in a circle: a, a, b",
        ),
        ("services:\n  a: {extends: {file: c.yaml}}\n", "compose.yaml", 2, "names no service"),
        (&*chain, "compose.yaml", 17, "more than 16"),
    ] {
        let files = [("compose.yaml", text), ("x/a.yaml", circle), ("x/b.yaml", back)];
        let (answer, _) = of(&files);
        let found = answer.problems.iter().find(|one| one.code == "invalid_file");
        let found = found.unwrap_or_else(|| panic!("{text}: {answer:#?}"));
        assert!(found.message.contains(why), "{text}: {found:?}");
        assert_eq!((found.file.as_deref(), found.line), (Some(file), Some(line)), "{found:?}");
    }
    let remote = service("sip", "    extends: {file: \"https://host/x.yaml\", service: a}\n");
    assert_eq!(of(&[("compose.yaml", &remote)]).1, ["not_mapped", "not_read"]);
}

#[test]
fn what_is_included_counts_with_paths_and_variables_of_its_own() {
    let sip =
        service("sip", "    env_file: sip.env\n    ports: [\"${MIN}-${MAX}:${MIN}-${MAX}/udp\"]\n");
    let files = |include: &'static str| -> Vec<(&str, &str)> {
        let text: &str = Box::leak(format!("include:\n{include}services:\n  web: {{}}\n").into());
        let sip: &str = Box::leak(sip.clone().into());
        vec![
            ("compose.yaml", text),
            ("sip/compose.yaml", sip),
            ("sip/.env", "MIN=21000\nMAX=21009\n"),
            ("sip/sip.env", "PORT_RANGE_B=21000-21001\n"),
            ("sip/more.yaml", "services: {sip: {ports: !reset []}}\n"),
            ("few.env", "MIN=21000\nMAX=21004\n"),
            ("sip.env", ""),
        ]
    };
    let none: &[&str] = &[];
    for (include, pools, expected) in [
        ("  - sip/compose.yaml\n", 2, none),
        ("  - ./sip/compose.yaml\n", 2, none),
        ("  - path: sip/compose.yaml\n", 2, none),
        ("  - path: [sip/compose.yaml]\n    project_directory: sip\n", 2, none),
        ("  - path: [sip/compose.yaml, sip/more.yaml]\n", 2, &["not_mapped", "not_mapped"]),
        ("  - {path: sip/compose.yaml, env_file: few.env}\n", 2, &["not_mapped"]),
        ("  - {path: sip/compose.yaml, env_file: [few.env, sip/.env]}\n", 2, none),
        ("  - {path: sip/compose.yaml, project_directory: ., env_file: sip/.env}\n", 1, none),
    ] {
        let (answer, mut codes) = of(&files(include));
        codes.retain(|code| code != "overlap");
        assert_eq!(
            (answer.pools.len(), &*codes),
            (pools, &*expected.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()),
            "{include}: {answer:#?}"
        );
    }
    // The own variables come first.
    let own = [files("  - sip/compose.yaml\n"), vec![(".env", "MAX=21004\n")]].concat();
    assert!(of(&own).1.contains(&"not_mapped".to_owned()));
}

#[test]
fn what_can_not_be_included_is_told_with_file_and_line() {
    for (text, other, file, why) in [
        ("include:\n  - compose.yaml\n", "", "compose.yaml", "in a circle"),
        (
            "include:\n  - other.yaml\n",
            "\ninclude: [./x/../compose.yaml]\n",
            "other.yaml",
            "in a circle",
        ),
        ("include:\n  - no.yaml\n", "", "compose.yaml", "can't be read"),
        ("include:\n  - {env_file: x}\n", "", "compose.yaml", "names no path"),
        (
            "include:\n  - {path: other.yaml, env_file: no.env}\n",
            "",
            "compose.yaml",
            "can't be read",
        ),
        (
            "include:\n  - other.yaml\nservices: {sip: {}}\n",
            "services: {sip: {}}\n",
            "compose.yaml",
            "does not merge",
        ),
    ] {
        let (answer, _) = of(&[("compose.yaml", text), ("other.yaml", other)]);
        let found = answer.problems.iter().find(|one| one.code == "invalid_file");
        let found = found.unwrap_or_else(|| panic!("{text}: {answer:#?}"));
        assert!(found.message.contains(why), "{text}: {found:?}");
        assert_eq!((found.file.as_deref(), found.line), (Some(file), Some(2)), "{found:?}");
    }
    let remote = "include: [\"https://github.com/a/b.git\", \"oci://a/b\"]\n";
    assert_eq!(of(&[("compose.yaml", remote)]).1, ["not_read", "not_read"]);
    // Each of many includes the next twice.
    let names: Vec<String> = (0..30).map(|n| format!("f{n}.yaml")).collect();
    let texts: Vec<String> =
        (1..31).map(|n| format!("include: [f{n}.yaml, ./f{n}.yaml]\n")).collect();
    let mut files: Vec<(&str, &str)> =
        names.iter().zip(&texts).map(|(name, text)| (&**name, &**text)).collect();
    files.extend([("compose.yaml", "include: [f0.yaml]\n"), ("f30.yaml", "")]);
    assert!(of(&files).1.contains(&"too_many".to_owned()));
}

#[test]
fn a_service_of_a_profile_is_checked_and_one_that_runs_instead_is_not_in_the_way() {
    let both = |own: &str, other: &str| {
        format!(
            "services:\n  sip:\n    profiles: {own}\n    ports: [\"{RANGE}\"]\n  other:\n    profiles: {other}\n    \
             ports: [\"{RANGE}\"]\n"
        )
    };
    for (own, other, env, expected) in [
        ("[]", "[]", "", Some("error")),
        ("[a]", "[b]", "", None),
        ("[a, b]", "[b]", "", Some("warning")),
        ("[]", "[b]", "", Some("warning")),
        ("[]", "[b]", "COMPOSE_PROFILES=a,b\n", Some("error")),
        ("[]", "[b]", "COMPOSE_PROFILES=*\n", Some("error")),
        ("[a]", "[]", "", Some("error")),
    ] {
        let text = both(own, other);
        let (answer, codes) = of(&[("compose.yaml", &text), (".env", env)]);
        let found = answer.problems.iter().find(|one| one.code == "mapped_elsewhere");
        assert_eq!(found.map(|one| &*one.severity), expected, "{own} {other} {env}: {answer:#?}");
        assert_eq!(codes.len(), usize::from(expected.is_some()), "{answer:#?}");
    }
    let (answer, _) = of(&[("compose.yaml", &service("sip", "    profiles: [debug]\n"))]);
    assert!(answer.only("not_mapped").message.contains("with a profile (debug)"));
}

#[test]
fn variables_of_compose_name_its_files() {
    let base = service("sip", "    env_file: sip.env\n");
    let over = service("sip", &ports(&format!("[\"{RANGE}\"]")));
    let files = |env: &'static str| {
        vec![
            (".env", env),
            ("base/a.yaml", &*base),
            ("base/sip.env", "PORT_RANGE_B=21000-21001\n"),
            ("over/b.yaml", &*over),
            // Not read.
            ("compose.yaml", "services: {web: {ports: [\"21000:80/udp\"]}}\n"),
        ]
    };
    for env in [
        "COMPOSE_FILE=base/a.yaml:over/b.yaml\n",
        "COMPOSE_PATH_SEPARATOR=,\nCOMPOSE_FILE=base/a.yaml,over/b.yaml\n",
    ] {
        let (answer, mut codes) = of(&files(env));
        codes.retain(|code| code != "overlap");
        assert_eq!(codes, [""; 0], "{answer:#?}");
        let names: Vec<&str> = answer.pools.iter().map(|one| &*one.name).collect();
        assert_eq!(names, ["media", "PORT_RANGE_B"]);
    }
    let (answer, codes) = of(&files(""));
    assert_eq!(codes, [""; 0], "{answer:#?}");
    let (answer, _) = of(&files("COMPOSE_FILE=no.yaml\n"));
    assert_eq!(answer.only("invalid_file").file.as_deref(), Some("no.yaml"));
}

#[test]
fn anchors_and_merged_mappings_are_read_as_yaml_has_them() {
    for text in [
        format!(
            "x-base: &base\n  ports: [\"{RANGE}\"]\nservices:\n  sip:\n    <<: *base\n    image: x\n"
        ),
        format!("x-ports: &ports [\"{RANGE}\"]\nservices:\n  sip:\n    ports: *ports\n"),
        format!(
            "x-a: &a\n  ports: [\"80:80\"]\nx-b: &b\n  ports: [\"{RANGE}\"]\nservices:\n  sip:\n    <<: [*b, *a]\n"
        ),
        format!(
            "x-a: &a {{ports: [\"80:80\"]}}\nservices:\n  sip:\n    <<: *a\n    ports: [\"{RANGE}\"]\n"
        ),
        format!(
            "x-p: &p {{protocol: udp}}\nservices:\n  sip:\n    ports:\n{}",
            (21_000..21_010)
                .map(|port| { format!("      - {{<<: *p, target: {port}, published: {port}}}\n") })
                .collect::<String>()
        ),
    ] {
        let (answer, codes) = of(&[("compose.yaml", &text)]);
        assert_eq!(codes, [""; 0], "{text}: {answer:#?}");
    }
}
