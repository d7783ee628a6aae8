//! How public projects publish ports: the forms of their `ports`, each in words of its own, with a pool beside.
//! Where one project is named, its own file has the form.

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

const FORMS: [Form; 36] = [
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
    Form {
        env: "HTTPS_PORT=8443\n",
        ..form(
            "mailcow/mailcow-dockerized: a default that has an address, and an address that is empty",
            "    ports:\n      - \"${SQL_PORT:-127.0.0.1:13306}:3306\"\n      - \"${HTTPS_BIND:-}:${HTTPS_PORT:-443}:${HTTPS_PORT:-443}\"\n",
            ("8443-8443", "tcp"),
            &[],
        )
    },
    Form {
        env: "MEDIA_PORT_MIN=20000\nMEDIA_PORT_MAX=20050\n",
        ..form(
            "jitsi/docker-jitsi-meet: both ends by variables without a default",
            "    ports:\n        - '${MEDIA_PORT_MIN}-${MEDIA_PORT_MAX}:${MEDIA_PORT_MIN}-${MEDIA_PORT_MAX}/udp'\n    environment:\n        - MEDIA_PORT_MIN\n        - MEDIA_PORT_MAX\n",
            ("20000-20050", "udp"),
            &[],
        )
    },
    Form {
        env: "PANEL_BIND=9000\n",
        ..form(
            "getsentry/self-hosted: services of two profiles that publish one port, merged by anchors",
            "    <<: &again {restart: unless-stopped}\n    profiles: [whole]\n    ports:\n      - \"$PANEL_BIND:80/tcp\"\n  app-errors-only:\n    <<: *again\n    image: x\n    profiles: [errors-only]\n    ports:\n      - \"$PANEL_BIND:80/tcp\"\n",
            ("80-80", "tcp"),
            &["not_mapped"],
        )
    },
    Form {
        env: "API_HTTP=8000\nAPI_HTTPS=8443\n",
        ..form(
            "supabase/supabase: variables without quotes, and the protocol behind",
            "    ports:\n      - ${API_HTTP}:8000/tcp\n      - ${API_HTTPS}:8443/tcp\n",
            ("8000-8000", "tcp"),
            &[],
        )
    },
    form(
        "pi-hole/docker-pi-hole: one port for both protocols, others for one",
        "    ports:\n      - \"53:53/tcp\"\n      - \"53:53/udp\"\n      - \"67:67/udp\"\n      - \"80:80/tcp\"\n",
        ("53-53", "both"),
        &[],
    ),
    form(
        "rustdesk/rustdesk-server: ports in a row that two services share, without quotes",
        "    ports:\n      - 21115:21115\n      - 21116:21116\n      - 21116:21116/udp\n      - 21118:21118\n  relay:\n    image: x\n    ports:\n      - 21117:21117\n      - 21119:21119\n",
        ("21115-21119", "tcp"),
        &["mapped_elsewhere", "mapped_elsewhere", "not_mapped"],
    ),
    form(
        "SeleniumHQ/docker-selenium: a range that is published port by port",
        "    container_name: app\n    ports:\n      - \"4442:4442\"\n      - \"4443:4443\"\n      - \"4444:4444\"\n",
        ("4442-4444", "tcp"),
        &[],
    ),
    form(
        "apache/airflow: what services share is an extension that they merge",
        "    <<: &shared\n      environment: &env {EXECUTOR: celery}\n      user: \"${UID_OF_APP:-50000}:0\"\n    ports:\n      - \"8080:8080\"\n  flower:\n    <<: *shared\n    image: x\n    environment: {<<: *env, PORT: \"5555\"}\n    profiles: [flower]\n    ports:\n      - \"5555:5555\"\n",
        ("8080-8080", "tcp"),
        &[],
    ),
    form(
        "minio/minio: nodes that are one port inside, and one in a row outside",
        "    ports: [\"9001:9000\"]\n  app2:\n    image: x\n    ports: [\"9002:9000\"]\n  app3:\n    image: x\n    ports: [\"9003:9000\"]\n",
        ("9000-9000", "tcp"),
        &["not_mapped"],
    ),
    form(
        "dockersamples/example-voting-app: replicas behind one port, and a port of Docker's choice",
        "    deploy: {replicas: 2}\n    ports:\n      - 5000:80\n  redis:\n    image: x\n    ports:\n      - \"6379\"\n",
        ("5000-5000", "tcp"),
        &["not_mapped"],
    ),
    form(
        "mastodon/mastodon: on loopback alone, beside what is commented out",
        "    networks: [outside, inside]\n    ports:\n      # - '127.0.0.1:9200:9200'\n      - '127.0.0.1:3000:3000'\n",
        ("3000-3000", "tcp"),
        &[],
    ),
    form(
        "krinkuto11/acestream-orchestrator: a range for each VPN, and what shares the first's network",
        "    cap_add: [NET_ADMIN, SYS_ADMIN]\n    ports:\n      - \"19000-19499:19000-19499\"      \n      - \"8001:8001\"\n  app2:\n    image: x\n    ports:\n      - \"19500-19999:19500-19999\"\n      - \"8002:8001\"\n  peers:\n    image: x\n    network_mode: \"service:app\"\n",
        ("19000-19499", "tcp"),
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
