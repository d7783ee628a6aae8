//! Rules of nftables in a network namespace of the test's own, as `nft` loads them.

use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
};

use crate::directory::{Directory, Problem, alone};

/// A process in a network namespace of its own, which ends with it.
struct Namespace(Child);

impl Namespace {
    /// `None`: this machine can't make one, or has no nftables.
    fn new() -> Option<Self> {
        let guard = alone();
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "sleep", "300"]).stdin(Stdio::null());
        let child = unshare.spawn().ok()?;
        drop(guard);
        let namespace = Self(child);
        // It is there once the child has executed `sleep`.
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        for _ in 0..500 {
            if std::fs::read_link(namespace.path()).is_ok_and(|link| link != own) {
                return namespace.load("add table inet probe").then_some(namespace);
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        None
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// Replaces all rules; whether that was possible.
    fn load(&self, rules: &str) -> bool {
        let guard = alone();
        let mut nft = Command::new("nsenter");
        nft.arg(format!("--net={}", self.path())).args(["nft", "-f", "-"]);
        let child = nft.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let Ok(mut child) = child else { return false };
        let text = format!("flush ruleset\n{rules}\n");
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(guard);
        if !output.status.success() {
            println!("{rules}: {}", String::from_utf8_lossy(&output.stderr));
        }
        output.status.success()
    }

    /// What is said of the firewall, of a pool in this namespace.
    fn check(&self, more: &str) -> Vec<Problem> {
        let text = format!(
            "[[pool]]\nname = \"media\"\nrange = \"21000-21009\"\nnetns = \"{}\"\n{more}\n",
            self.path()
        );
        let (answer, code) = Directory::of(&[("pools.toml", &text)]).check(&[]);
        assert_eq!(code, 0, "{answer:#?}");
        let is_of_it = |one: &Problem| matches!(&*one.code, "firewall" | "not_checked");
        answer.problems.into_iter().filter(is_of_it).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn input(policy: &str, rules: &[&str]) -> String {
    let rules = rules.join("\n");
    format!(
        "table inet filter {{\nset media {{ type inet_service; flags interval; elements = {{ 21000-21004, 21005-30000 }}; }}\n\
         set few {{ type inet_service; elements = {{ 80, 21003 }}; }}\n\
         set live {{ type inet_service; flags dynamic,timeout; timeout 1m; }}\n\
         chain media_in {{ udp dport 21000-21009 accept; }}\n\
         chain end {{ counter drop; }}\n\
         chain input {{\ntype filter hook input priority 0; policy {policy};\n{rules}\n}}\n}}"
    )
}

const UDP: &str = "protocol = \"udp\"";
/// What a host's rules begin with: nothing of it is for new flows from outside.
const BEGINNING: [&str; 3] =
    ["ct state established,related accept", "ct state invalid drop", "iifname \"lo\" accept"];

/// Rules, each with what the warning of a pool of UDP has: of all packets, of others than some, or of what
/// is not certain; empty: none.
const CASES: &[(&str, &[&str], &str)] = &[
    ("accept", &[], ""),
    (
        "drop",
        &[],
        "21000-21009, 10 ports (udp) are dropped by the firewall: chain inet filter input: policy drop",
    ),
    ("drop", &["udp dport 21000-21009 accept"], ""),
    ("drop", &["udp dport 20000-31000 accept"], ""),
    ("drop", &["tcp dport 21000-21009 accept"], "are dropped"),
    ("drop", &["udp dport 21000-21007 accept"], "21008-21009, 2 ports (udp) are dropped"),
    (
        "accept",
        &["udp dport 21000-21004 drop"],
        "21000-21004, 5 ports (udp) are dropped by the firewall: chain inet filter input: `udp dport 21000-21004 drop`",
    ),
    (
        "accept",
        &["udp dport { 80, 21003 } reject"],
        "port 21003 (udp) are rejected by the firewall: chain inet filter input: `udp dport { 80, 21003 } reject`",
    ),
    ("accept", &["udp dport != 21000-21009 drop"], ""),
    (
        "accept",
        &["udp dport 21009 counter drop", "udp dport 21009 accept"],
        "port 21009 (udp) are dropped",
    ),
    ("accept", &["udp dport 21009 accept", "udp dport 21009 drop"], ""),
    ("drop", &["udp dport @media accept"], ""),
    ("drop", &["udp dport @few accept"], "21000-21002, 21004-21009, 9 ports (udp) are dropped"),
    ("accept", &["udp dport @media drop"], "`udp dport @media drop`"),
    ("drop", &["udp dport @live accept"], "may be dropped"),
    (
        "drop",
        &["udp dport vmap { 21000-21004 : accept, 21005-21009 : jump end }"],
        "21005-21009, 5 ports (udp) are dropped by the firewall: chain inet filter end: `counter drop`",
    ),
    ("drop", &["meta l4proto { tcp, udp } th dport 21000-21009 accept"], ""),
    ("drop", &["meta l4proto . th dport { tcp . 22, udp . 21000-21009 } accept"], ""),
    ("drop", &["meta l4proto vmap { tcp : drop, udp : goto media_in }"], ""),
    ("drop", &["jump media_in"], ""),
    (
        "drop",
        &["udp dport 21000-21003 goto end", "jump media_in"],
        "21000-21003, 4 ports (udp) are dropped",
    ),
    (
        "drop",
        &["ip saddr 10.0.0.0/8 udp dport 21000-21009 accept"],
        "(udp over IPv4) are dropped by the firewall (chain inet filter input: policy drop), but for those that an earlier rule accepts: chain inet filter input: `ip saddr 10.0.0.0/8 udp dport 21000-21009 accept`",
    ),
    (
        "drop",
        &["iifname \"eth0\" udp dport 21000-21009 accept"],
        "but for those that an earlier rule accepts: chain inet filter input: `iifname \"eth0\" udp dport 21000-21009 accept`",
    ),
    ("drop", &["iifname != \"lo\" udp dport 21000-21009 accept"], ""),
    ("drop", &["udp dport 21000-21009 limit rate 10/second accept"], "may be dropped"),
    ("drop", &["udp dport 21000-21009 meta mark 5 accept"], "may be dropped"),
    (
        "accept",
        &["ip saddr 192.0.2.7 drop", "ip saddr { 192.0.2.1, 192.0.2.9 } udp dport 21000 drop"],
        "",
    ),
    (
        "accept",
        &["ip saddr != 10.0.0.0/8 udp dport 21000-21009 drop"],
        "may be dropped by the firewall, which depends on more than their port",
    ),
    ("accept", &["iifname \"eth1\" udp dport 21000 drop"], "may be dropped"),
    ("accept", &["ct state new udp dport 21000 drop"], "port 21000 (udp) are dropped"),
    ("drop", &["ct state vmap { established : accept, new : accept }"], ""),
    ("drop", &["meta nfproto ipv4 accept"], "(udp over IPv6) are dropped"),
    ("accept", &["tcp dport 21000-21009 drop"], ""),
    ("accept", &["udp dport 21000-21009 log prefix \"x\" queue"], ""),
    ("accept", &["udp sport 53 udp dport 21000 drop"], ""),
];

#[test]
fn rules_are_judged_as_the_kernel_lists_them() {
    let Some(namespace) = Namespace::new() else {
        println!("skipped: no network namespace can be made here, or there is no nft");
        return;
    };
    let (mut tried, mut wrong) = (0, Vec::new());
    for (policy, rules, expected) in CASES {
        let all = [&BEGINNING[..], rules].concat();
        if !namespace.load(&input(policy, &all)) {
            println!("skipped: this kernel or nft has not what these take: {rules:?}");
            continue;
        }
        tried += 1;
        let found = namespace.check(UDP);
        let told: Vec<&str> = found.iter().map(|one| &*one.message).collect();
        let is_right = match (&told[..], expected.is_empty()) {
            ([], true) => true,
            // Of both families, where the rule is of one.
            (all, false) if all.len() <= 2 => all.iter().any(|one| one.contains(expected)),
            _ => false,
        };
        if !is_right {
            wrong.push(format!("{policy} {rules:?}: {told:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > CASES.len() / 2, "{tried} of {} cases", CASES.len());
}

#[test]
fn the_line_that_is_given_lets_the_ports_in() {
    let Some(namespace) = Namespace::new() else {
        println!("skipped: no network namespace can be made here, or there is no nft");
        return;
    };
    let rules = [&BEGINNING[..], &["udp dport 21000-21003 drop", "udp dport 21007 drop"]].concat();
    for (more, policy) in [(UDP, "accept"), (UDP, "drop"), ("protocol = \"both\"", "drop")] {
        let rules = input(policy, &rules);
        assert!(namespace.load(&rules));
        let found = namespace.check(more);
        assert!(!found.is_empty());
        for one in &found {
            assert_eq!((&*one.severity, &*one.code), ("warning", "firewall"));
            assert_eq!((one.file.as_deref(), one.line), (Some("pools.toml"), Some(3)));
            let line = one.fix.as_deref().unwrap();
            assert!(line.starts_with("nsenter --net=/proc/"), "{line}");
            let guard = alone();
            let status = Command::new("sh").args(["-c", line]).status().unwrap();
            drop(guard);
            assert!(status.success(), "{line}");
        }
        let found = namespace.check(more);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn another_table_family_or_pool_is_another_matter() {
    let Some(namespace) = Namespace::new() else {
        println!("skipped: no network namespace can be made here, or there is no nft");
        return;
    };
    let table = |family: &str| {
        format!(
            "table {family} x {{\nchain in {{\ntype filter hook input priority 10; policy drop\n}}\n}}"
        )
    };
    let count = |more: &str| namespace.check(more).len();
    assert!(namespace.load(&format!("{}\n{}", table("ip"), table("inet"))));
    assert_eq!(count(UDP), 2);
    assert!(namespace.load(&table("ip6")));
    assert_eq!(
        (count(UDP), count("address = \"192.0.2.1\""), count("address = \"::\"")),
        (1, 0, 1)
    );
    assert!(namespace.load(&table("ip")));
    assert_eq!((count("address = \"192.0.2.1\""), count("address = \"127.0.0.1\"")), (1, 0));
    assert_eq!((count("address = \"2001:db8::1\""), count("container = \"vpn\"")), (0, 1));
    // Of a pool that may be for either protocol, one is enough.
    assert!(namespace.load(&input("accept", &["tcp dport 21000-21009 drop"])));
    assert_eq!((count(""), count("protocol = \"both\""), count("protocol = \"tcp\"")), (0, 1, 1));
    // What is sent on to a container before.
    let rules = format!(
        "{}\ntable ip nat {{\nchain pre {{\ntype nat hook prerouting priority -100;\nfib daddr type local jump docker\n}}\n\
         chain docker {{\nudp dport 21000-21009 dnat to 192.0.2.9\n}}\n}}",
        table("ip")
    );
    match namespace.load(&rules) {
        true => assert_eq!((count(UDP), count("protocol = \"both\"")), (0, 1)),
        false => println!("skipped: this kernel has no translation"),
    }
    // Forwarded packets, output, and what is put away.
    for rules in [
        "table inet x {\nchain f {\ntype filter hook forward priority 0; policy drop\n}\n}",
        "table inet x {\nchain o {\ntype filter hook output priority 0; policy drop\n}\n}",
        "table inet x {\nchain unused {\ndrop\n}\n}",
        "table inet x {\nflags dormant\nchain i {\ntype filter hook input priority 0; policy drop\n}\n}",
    ] {
        assert!(namespace.load(rules), "{rules}");
        assert_eq!(count(UDP), 0, "{rules}");
    }
}

#[test]
fn rules_that_may_not_be_read_are_said_and_are_no_finding() {
    let directory = Directory::of(&[(
        "pools.toml",
        "[[pool]]\nname = \"media\"\nrange = \"7000-7001\"\naddress = \"192.0.2.1\"\n",
    )]);
    let command = directory.command("check", &["--json", "--strict"]);
    let mut as_nobody = Command::new("setpriv");
    as_nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    as_nobody.arg(command.get_program()).args(command.get_args()).current_dir(directory.path());
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), permissions).unwrap();
    let guard = alone();
    let output = as_nobody.stdin(Stdio::null()).output();
    drop(guard);
    let Some(output) = output.ok().filter(|output| !output.stdout.is_empty()) else {
        println!("skipped: the program can't be run as another user");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.contains("CAP_NET_ADMIN") {
        assert!(text.contains("not_checked"), "{text}");
    } else {
        println!("skipped: there is no nf_tables");
    }
    assert_eq!(output.status.code(), Some(0), "{text}");
}
