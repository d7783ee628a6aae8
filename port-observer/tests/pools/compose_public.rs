//! How public projects publish ranges: the forms of their `ports`, each in words of its own, with a pool beside.

use crate::directory::Directory;

/// A form: who writes it so, `.env`, the rest of the service `app`, the pool's range and protocol, and the codes
/// of the errors.
struct Form {
    of: &'static str,
    env: &'static str,
    service: &'static str,
    pool: (&'static str, &'static str),
    errors: &'static [&'static str],
}

const fn form(
    of: &'static str,
    service: &'static str,
    pool: (&'static str, &'static str),
    errors: &'static [&'static str],
) -> Form {
    Form { of, env: "", service, pool, errors }
}

const FORMS: [Form; 24] = [
    form(
        "telephone exchanges: signalling over both protocols, media over UDP",
        "    ports:\n      - \"5060:5060/udp\"  # signalling\n      - \"5060:5060/tcp\"\n      - \"5038:5038\"\n      - \"10000-10100:10000-10100/udp\"  # media\n",
        ("10000-10100", "udp"),
        &[],
    ),
    form(
        "exchanges that publish fewer ports than they use",
        "    ports:\n      - 5060:5060/udp\n      - 10000-10020:10000-10020/udp\n",
        ("10000-20000", "udp"),
        &["not_mapped"],
    ),
    form(
        "an exchange with the protocol behind both ranges, which Docker refuses",
        "    ports: [\"10000-10020/udp:10000-10020/udp\"]\n",
        ("10000-10020", "udp"),
        &["invalid_ports", "not_mapped"],
    ),
    form(
        "softswitches: a range that begins at an odd place",
        "    ports:\n    - \"5080:5080/udp\"\n    - \"8021:8021/tcp\"\n    - \"16384-16484:16384-16484/udp\"\n",
        ("16384-16484", "udp"),
        &[],
    ),
    form(
        "conference servers that move their media outside",
        "    ports:\n      - \"8083:8083\"            # signalling\n      - \"55000-55100:50000-50100/udp\"\n",
        ("50000-50100", "udp"),
        &["not_mapped"],
    ),
    form(
        "media servers: TCP as a way out, one port for UDP, and a range",
        "    ports:\n      - \"7880:7880\"\n      - \"7881:7881\"\n      - \"7882:7882/udp\"\n      - \"50000-50200:50000-50200/udp\"\n",
        ("50000-50200", "udp"),
        &[],
    ),
    form(
        "relays: a list in one line, and the range in the command too",
        "    ports: [\"3478:3478/udp\", \"49160-49200:49160-49200/udp\"]\n    command: [\"-n\", \"--min-port\", \"49160\", \"--max-port\", \"49200\"]\n",
        ("49160-49200", "udp"),
        &[],
    ),
    form(
        "relays that publish the range for both protocols",
        "    ports:\n      - 3478:3478/tcp\n      - 3478:3478/udp\n      - 49160-49200:49160-49200/tcp\n      - 49160-49200:49160-49200/udp\n",
        ("49160-49200", "both"),
        &[],
    ),
    form(
        "relays that give up ports for the host's network",
        "    network_mode: host\n    command: -n --log-file=stdout\n",
        ("49160-49200", "udp"),
        &[],
    ),
    form(
        "file servers: passive connections, and no protocol",
        "    ports:\n      - \"21:21\"\n      - \"30000-30009:30000-30009\"\n    environment: {PUBLICHOST: localhost}\n",
        ("30000-30009", "tcp"),
        &[],
    ),
    form(
        "file servers whose service asks for more than is published",
        "    ports: [\"2121:21\", \"30000-30009:30000-30009\"]\n    command: /run.sh -p 30000:30059\n",
        ("30000-30059", "tcp"),
        &["not_mapped"],
    ),
    Form {
        env: "WEB_RANGE=19874-19899\n",
        ..form(
            "development containers: one variable for both sides",
            "    ports:\n      - \"${WEB_RANGE}:${WEB_RANGE}\"\n",
            ("19874-19899", "tcp"),
            &[],
        )
    },
    Form {
        env: "BIND=127.0.0.1\nVITE=5173-5180\n",
        ..form(
            "development containers: an address from a variable",
            "    ports:\n      - \"${BIND:?say where}:${VITE}:${VITE}\"\n      - \"${BIND}:${HTTP:-8080}:80\"\n",
            ("5173-5180", "tcp"),
            &[],
        )
    },
    form(
        "proxies: ends from variables with defaults",
        "    ports:\n      - \"${LOW:-20000}-${HIGH:-20099}:${LOW:-20000}-${HIGH:-20099}/udp\"\n",
        ("20000-20099", "udp"),
        &[],
    ),
    Form {
        env: "HIGH=20049\n",
        ..form(
            "proxies: a variable that makes the range shorter",
            "    ports:\n      - \"${LOW:-20000}-${HIGH:-20099}:${LOW:-20000}-${HIGH:-20099}/udp\"\n",
            ("20000-20099", "udp"),
            &["not_mapped"],
        )
    },
    form(
        "cloud emulators: an edge port and services behind it, on loopback",
        "    ports:\n      - \"127.0.0.1:4566:4566\"        # edge\n      - \"127.0.0.1:4510-4559:4510-4559\"\n",
        ("4510-4559", "tcp"),
        &[],
    ),
    form(
        "game servers: the same numbers twice, quoted with one mark",
        "    ports:\n      - '27015-27020:27015-27020/tcp'\n      - '27015-27020:27015-27020/udp'\n",
        ("27015-27020", "both"),
        &[],
    ),
    form(
        "peers of file sharing: a port with its protocol each, in the long syntax",
        "    ports:\n      - target: 6881\n        published: 6881\n        protocol: tcp\n      - {target: 6881, published: \"6881\", protocol: udp, mode: host}\n",
        ("6881-6881", "both"),
        &[],
    ),
    form(
        "browsers for tests: replicas that share a range",
        "    deploy: {replicas: 5}\n    ports: [\"5900-5904:5900\"]\n",
        ("5900-5904", "tcp"),
        &["not_mapped"],
    ),
    form(
        "brokers that only let other services in",
        "    expose: [\"9092-9094\"]\n    ports: [\"9092-9094\"]\n",
        ("9092-9094", "tcp"),
        &["not_mapped"],
    ),
    form(
        "containers within containers: ports of the inner ones",
        "    privileged: true\n    ports:\n      - 2376:2376\n      - 30000-30100:30000-30100\n",
        ("30000-30100", "tcp"),
        &[],
    ),
    form(
        "what is behind a VPN: the VPN's service publishes",
        "    network_mode: \"service:vpn\"\n    depends_on: [vpn]\n  vpn:\n    cap_add: [NET_ADMIN]\n    ports:\n      - \"19000-19099:19000-19099\"\n      - 8001:8001/tcp\n",
        ("19000-19099", "tcp"),
        &[],
    ),
    form(
        "services that share a block of ports by an anchor",
        "    ports: &media\n      - \"40000-40019:40000-40019/udp\"\n  spare:\n    profiles: [spare]\n    image: x\n",
        ("40000-40019", "udp"),
        &[],
    ),
    form(
        "clusters on one host: a port of each node, and one for its neighbours",
        "    ports: [\"7001-7006:7001-7006\", \"17001-17006:17001-17006\"]\n",
        ("17001-17006", "tcp"),
        &[],
    ),
];

#[test]
fn forms_of_public_projects_are_judged_without_a_false_error() {
    let mut wrong = Vec::new();
    for form in &FORMS {
        let (range, protocol) = form.pool;
        let pools = format!(
            "[[pool]]\nname = \"app\"\nrange = \"{range}\"\nprotocol = \"{protocol}\"\ncontainer = \"app\"\n"
        );
        let compose = format!("services:\n  app:\n    image: x\n{}", form.service);
        let files =
            [("pools.toml", &*pools), ("docker-compose.yml", &*compose), (".env", form.env)];
        let (answer, code) = Directory::of(&files).check(&[]);
        let errors = answer.errors();
        let codes: Vec<&str> = errors.iter().map(|(code, ..)| *code).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        let is_right = sorted == form.errors && code == i32::from(!form.errors.is_empty());
        let has_odd_warning = answer.problems.iter().any(|one| {
            matches!(&*one.code, "base_60" | "interpolation" | "not_read" | "invalid_file")
        });
        if !is_right || has_odd_warning {
            wrong.push(format!("{}: {codes:?}, {:#?}", form.of, answer.problems));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
