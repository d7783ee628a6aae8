//! Files of Compose.

use crate::directory::{Answer, Directory};

/// The errors and warnings that are of files, of a service `ari` that gets `PORT_RANGE=21000-21009`.
fn check(rest: &str) -> (Answer, Vec<String>) {
    let text = format!(
        "services:\n  ari:\n    image: x\n    environment:\n      PORT_RANGE: 21000-21009\n{rest}"
    );
    of(&[("compose.yaml", &text)])
}

fn of(files: &[(&str, &str)]) -> (Answer, Vec<String>) {
    let (answer, _) = Directory::of(files).check(&[]);
    let is_of_kernel = |code: &str| matches!(code, "ephemeral" | "in_use" | "not_checked");
    let all = answer.problems.iter().filter(|one| !is_of_kernel(&one.code));
    let codes = all.map(|one| one.code.clone()).collect();
    (answer, codes)
}

#[test]
fn a_mapping_is_the_same_ports_inside_and_out_in_either_syntax() {
    for ports in [
        "\"21000-21009:21000-21009\"",
        "\"21000-21009:21000-21009/udp\"",
        "21000-21009:21000-21009",
        "\"0.0.0.0:21000-21009:21000-21009\"",
        "\"[::]:21000-21009:21000-21009/udp\"",
        "\"20000-22000:20000-22000\"",
        "\"21000-21004:21000-21004\"\n      - \"21005-21009:21005-21009/udp\"",
    ] {
        let (answer, codes) = check(&format!("    ports:\n      - {ports}\n"));
        let codes: Vec<&String> = codes.iter().filter(|code| *code != "docker_proxy").collect();
        assert!(codes.is_empty(), "{ports}: {answer:#?}");
    }
    for (ports, why) in [
        ("\"21000-21009\"", "any ports that are free"),
        ("\"21000-21009:21000\"", "one port only"),
        ("\"21000-21008:21000-21008\"", "port 21009"),
        ("\"22000-22009:21000-21009\"", "other ports inside than outside"),
        ("\"21000-21009:22000-22009\"", "other ports inside than outside"),
        ("\"21000-21009:21000-21009/sctp\"", "is for sctp alone"),
        ("{target: 21000, published: \"21000-21009\"}", "one port only"),
        ("\"80:80\"", "21000-21009, 10 ports"),
    ] {
        let (answer, codes) = check(&format!("    ports:\n      - {ports}\n"));
        assert_eq!(codes, ["not_mapped"], "{ports}: {answer:#?}");
        assert!(
            answer.problems.iter().any(|one| one.message.contains(why)),
            "{ports}: {answer:#?}"
        );
    }
    assert_eq!(check("").1, ["not_mapped"]);
}

#[test]
fn the_protocol_has_to_be_the_one_that_is_declared() {
    let pools = "[[pool]]\nname = \"media\"\nrange = \"21000-21009\"\nprotocol = \"PROTOCOL\"\n";
    let compose = "services:\n  ari:\n    ports: [\"21000-21009:21000-21009/udp\"]\n";
    for (protocol, codes) in [("udp", &[][..]), ("tcp", &["not_mapped"]), ("both", &["not_mapped"])]
    {
        let pools = pools.replace("PROTOCOL", protocol);
        let (answer, found) = of(&[("pools.toml", &pools), ("compose.yml", compose)]);
        assert_eq!(found, codes, "{protocol}: {answer:#?}");
    }
}

#[test]
fn a_service_on_the_host_needs_no_mapping_and_one_that_shares_a_network_has_that_ones() {
    assert_eq!(check("    network_mode: host\n").1, [""; 0]);
    let (_, codes) = check("    network_mode: host\n    ports: [\"80:80\"]\n");
    assert_eq!(codes, ["invalid_ports"]);
    let vpn = "  vpn:\n    container_name: the_vpn\n    ports: [\"21000-21009:21000-21009\"]\n";
    for mode in ["service:vpn", "container:the_vpn"] {
        let (answer, codes) = check(&format!("    network_mode: {mode}\n{vpn}"));
        assert_eq!(codes, [""; 0], "{answer:#?}");
    }
    let (_, codes) = check(vpn);
    assert_eq!(codes, ["not_mapped", "mapped_elsewhere"]);
    let (_, codes) = check("    network_mode: host\n  web:\n    ports: [\"21005:80\"]\n");
    assert_eq!(codes, ["mapped_elsewhere"]);
    // In a circle.
    assert_eq!(check("    network_mode: service:ari\n").1, [""; 0]);
}

#[test]
fn ports_that_make_no_sense_are_told_and_numbers_of_base_60_warned_of() {
    let (answer, codes) = check("    network_mode: host\n  web:\n    ports:\n      - 22:22\n");
    assert_eq!((codes, answer.only("base_60").line), (vec!["base_60".to_owned()], Some(9)));
    for wrong in [
        "\"80-81:80-82\"",
        "\"host:80:80\"",
        "70000",
        "{published: \"80\"}",
        "{target: 80, color: red}",
        "[80]",
    ] {
        let (answer, codes) =
            check(&format!("    network_mode: host\n  web:\n    ports:\n      - {wrong}\n"));
        assert_eq!(
            (codes, answer.only("invalid_ports").line),
            (vec!["invalid_ports".to_owned()], Some(9)),
            "{wrong}"
        );
    }
    let good = "    network_mode: host\n  web:\n    ports:\n      - 3000\n      - {target: 80, published: 8080, x-a: 1, mode: host}\n";
    assert_eq!(check(good).1, [""; 0]);
}

#[test]
fn references_and_files_of_variables_are_resolved_as_compose_does() {
    let compose = "services:\n  ari:\n    env_file:\n      - ari.env\n      - {path: no.env, required: false}\n    \
                   environment: [PORT_RANGE, \"PORT_RANGE_B=${B:-${LOW}-22009}\"]\n    ports:\n      \
                   - \"${PORT_RANGE:?}:${PORT_RANGE}\"\n      - \"22000-22009:22000-22009\"\n      - \"23000-23009:23000-23009\"\n";
    let env = "PORT_RANGE=21000-21009\nLOW=22000\n";
    let files =
        [("compose.yaml", compose), (".env", env), ("ari.env", "PORT_RANGE_C=23000-23009\n")];
    let (answer, codes) = of(&files);
    assert_eq!(codes, [""; 0], "{answer:#?}");
    let names: Vec<&str> = answer.pools.iter().map(|pool| &*pool.name).collect();
    assert_eq!(names, ["PORT_RANGE", "PORT_RANGE_B", "PORT_RANGE_C"]);
    let source = &answer.pools[2].source;
    assert_eq!((&*source.file, source.line), ("ari.env", Some(1)));
    // The file beside is read as Compose does, also when only the other is named.
    let (answer, _) = Directory::of(&files).check(&["compose.yaml"]);
    assert_eq!(answer.pools.len(), 3);

    let (answer, _) = of(&[("compose.yaml", compose), ("ari.env", "")]);
    let told: Vec<(&str, &str)> =
        answer.problems.iter().map(|one| (&*one.severity, &*one.code)).collect();
    assert!(told.contains(&("error", "interpolation")), "{answer:#?}");
    assert!(told.contains(&("warning", "interpolation")), "{answer:#?}");
    let (answer, _) = of(&[("compose.yaml", compose), (".env", env)]);
    assert!(answer.only("invalid_file").message.contains("ari.env"));
}

#[test]
fn services_with_a_value_each_have_a_pool_each() {
    let service = |name: &str, range: &str| {
        format!("  {name}:\n    network_mode: host\n    environment: [\"PORT_RANGE={range}\"]\n")
    };
    let text = format!("services:\n{}{}", service("a", "21000-21009"), service("b", "22000-22009"));
    let (answer, codes) = of(&[("compose.yaml", &text)]);
    let names: Vec<&str> = answer.pools.iter().map(|pool| &*pool.name).collect();
    assert_eq!((names, codes.len()), (vec!["a.PORT_RANGE", "b.PORT_RANGE"], 0), "{answer:#?}");
    let text = format!("services:\n{}{}", service("a", "21000-21009"), service("b", "21009-22009"));
    assert_eq!(of(&[("compose.yaml", &text)]).1, ["overlap"]);
}

#[test]
fn a_file_of_another_kind_or_with_much_in_it_ends_in_an_answer() {
    let bomb: String =
        (1..50).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1)).collect();
    let bomb = format!("a0: &a0 [\"80:80\", \"81:81\"]\n{bomb}services: {{x: {{ports: *a49}}}}\n");
    for text in [
        &*bomb,
        "[",
        "- a",
        "services: [a]",
        "services: {a: 5}",
        "services: {a: {ports: 5}}",
        "x",
        "",
    ] {
        let output = Directory::of(&[("compose.yaml", text)]).run(&["--json"]);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{text}: {output:?}");
        assert!(!output.stdout.is_empty());
    }
}
