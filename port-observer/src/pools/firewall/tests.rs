//! Rules as data. What `nft` loads is held against the same in `tests/pools/firewall.rs`.

use proptest::prelude::{any, prop, proptest};

use super::{
    expression::{Expression, Verdict},
    ruleset::{Chain, Element, Set},
    *,
};
use crate::{pools::problem::Place, ports::PortRange};

const TO_PORT: Expression = Expression::Payload { to: 8, base: 2, offset: 2, length: 2 };

fn key(chain: &str) -> Key {
    (INET, "filter".to_owned(), chain.to_owned())
}

fn pool() -> Pool {
    let place = Place { file: "pools.toml".into(), line: Some(3) };
    let range = PortRange { min: 21_000, max: 21_009 };
    Pool { protocols: Some(crate::pools::Protocols::Udp), ..Pool::new("media", vec![range], place) }
}

fn l4(number: u8) -> Vec<Expression> {
    vec![
        Expression::Meta { to: 8, key: 16 },
        Expression::Compare { from: 8, operator: 0, data: vec![number] },
    ]
}

/// `udp dport MIN-MAX`, then more.
fn udp(min: u16, max: u16, more: &[Expression]) -> Vec<Expression> {
    let range = [
        TO_PORT,
        Expression::Compare { from: 8, operator: 5, data: min.to_be_bytes().into() },
        Expression::Compare { from: 8, operator: 3, data: max.to_be_bytes().into() },
    ];
    [&l4(17)[..], &range, more].concat()
}

fn end(verdict: Verdict) -> Expression {
    Expression::Verdict(verdict)
}

/// A base chain with these rules and others that it leads to.
fn firewall(
    drops: bool,
    rules: Vec<Vec<Expression>>,
    others: &[(&str, Vec<Vec<Expression>>)],
) -> Firewall {
    let mut firewall = Firewall::default();
    firewall.chains.insert(key("input"), Chain { input: Some(drops), translates: false, rules });
    for (name, rules) in others {
        firewall.chains.insert(key(name), Chain { rules: rules.clone(), ..Chain::default() });
    }
    firewall
}

fn told(firewall: Firewall) -> Vec<(Code, String, Option<String>)> {
    let mut problems = Problems::default();
    check(&[pool()], &(None, Ok(firewall)), &mut problems);
    let all = problems.sorted().into_iter();
    all.map(|one| (one.code, one.message.clone(), one.fix.clone())).collect()
}

#[test]
fn a_drop_is_told_with_its_rule_and_the_line_that_comes_before_it() {
    let found = told(firewall(false, vec![udp(21_000, 21_003, &[end(Verdict::Drop)])], &[]));
    let [(Code::Firewall, message, Some(fix))] = &found[..] else { panic!("{found:?}") };
    assert_eq!(
        message,
        "media (21000-21009): new flows from outside to 21000-21003, 4 ports (udp) are dropped by the firewall: chain inet \
         filter input: `udp dport 21000-21003 drop`"
    );
    assert_eq!(fix, "nft insert rule inet filter input udp dport 21000-21003 accept");
    assert_eq!(told(firewall(false, vec![], &[])), []);
    // A name that a shell would read otherwise is not in a line to type.
    let mut odd = firewall(true, vec![], &[]);
    let chain = odd.chains.remove(&key("input")).unwrap();
    odd.chains.insert((INET, "a;reboot\u{1b}".to_owned(), "input".to_owned()), chain);
    assert!(!told(odd)[0].2.as_ref().unwrap().contains("nft insert"));
}

#[test]
fn ports_that_are_translated_before_do_not_come_to_hook_input() {
    let mut firewall = firewall(true, vec![], &[]);
    let rules = vec![udp(21_000, 21_004, &[end(Verdict::Other)])];
    firewall.chains.insert(key("nat"), Chain { translates: true, rules, ..Chain::default() });
    let found = told(firewall);
    assert!(found.len() == 1 && found[0].1.contains("to 21005-21009, 5 ports"), "{found:?}");
}

#[test]
fn what_is_not_understood_is_never_certain() {
    let unknown = Expression::Condition("new_in_7.9".to_owned());
    for (rules, expected) in [
        (vec![udp(21_000, 21_009, &[unknown.clone(), end(Verdict::Accept)])], "may be dropped"),
        (vec![vec![unknown.clone(), end(Verdict::Accept)]], "may be dropped"),
        (vec![vec![Expression::Target("NEW".to_owned())]], "may be dropped"),
        (vec![udp(21_000, 21_009, &[unknown.clone(), end(Verdict::Drop)])], "are dropped"),
        // A value that nothing was loaded into.
        (
            vec![vec![
                Expression::Compare { from: 9, operator: 0, data: vec![1] },
                end(Verdict::Accept),
            ]],
            "may be dropped",
        ),
        // A set that is not there.
        (
            vec![vec![
                TO_PORT,
                Expression::Lookup { set: "x".to_owned(), from: 8, is_not: false, to: None },
                end(Verdict::Accept),
            ]],
            "may be dropped",
        ),
    ] {
        let found = told(firewall(true, rules.clone(), &[]));
        assert!(found.len() == 1 && found[0].1.contains(expected), "{rules:?}: {found:?}");
    }
    // Dropped on a condition, accepted otherwise.
    let rules = vec![udp(21_000, 21_009, &[unknown, end(Verdict::Drop)])];
    let found = told(firewall(false, rules, &[]));
    assert!(found[0].1.contains("may be dropped"), "{found:?}");
}

#[test]
fn chains_in_a_circle_and_without_end_are_said_and_claim_nothing() {
    let jump = |to: &str| vec![end(Verdict::Jump(to.to_owned()))];
    let found =
        told(firewall(true, vec![jump("a")], &[("a", vec![jump("b")]), ("b", vec![jump("a")])]));
    assert_eq!(found.iter().map(|one| one.0).collect::<Vec<_>>(), [Code::NotChecked]);
    // Each of ten chains leads to the next ten times.
    let names: Vec<String> = (0..11).map(|n| format!("c{n}")).collect();
    let others: Vec<(&str, Vec<Vec<Expression>>)> =
        names.windows(2).map(|pair| (&*pair[0], vec![jump(&pair[1]); 10])).collect();
    let found = told(firewall(true, vec![jump("c0")], &[&others[..], &[("c10", vec![])]].concat()));
    assert_eq!(found.iter().map(|one| one.0).collect::<Vec<_>>(), [Code::NotChecked]);
    let found = told(firewall(true, vec![jump("nowhere")], &[]));
    assert_eq!(found.iter().map(|one| one.0).collect::<Vec<_>>(), [Code::NotChecked]);
}

#[test]
fn untracked_packets_are_new_ones_too() {
    let state = |bits: u32| {
        vec![
            Expression::Ct { to: 8, key: 0 },
            Expression::Bitwise {
                from: 8,
                to: 8,
                mask: bits.to_ne_bytes().into(),
                xor: vec![0; 4],
            },
            Expression::Compare { from: 8, operator: 1, data: vec![0; 4] },
            end(Verdict::Accept),
        ]
    };
    for (bits, has_untracked, expected) in [
        (6, false, Some("are dropped by the firewall: chain inet filter input: policy drop")),
        (8, false, None),
        (64, false, Some("are dropped by the firewall: chain")),
        (
            64,
            true,
            Some(
                "but for those that an earlier rule accepts: chain inet filter input: `ct state untracked accept`",
            ),
        ),
        (8 | 64, true, None),
    ] {
        let firewall = Firewall { has_untracked, ..firewall(true, vec![state(bits)], &[]) };
        let found = told(firewall);
        match expected {
            None => assert_eq!(found, [], "{bits}"),
            Some(text) => assert!(found[0].1.contains(text), "{bits}: {found:?}"),
        }
    }
}

#[test]
fn a_map_goes_where_its_element_says_and_the_rest_where_nothing_else_does() {
    let element = |low: u16, high: u16, is_rest, verdict| Element {
        low: low.to_be_bytes().into(),
        high: high.to_be_bytes().into(),
        is_rest,
        verdict: Some(verdict),
    };
    let lookup = Expression::Lookup { set: "m".to_owned(), from: 8, is_not: false, to: Some(0) };
    let mut firewall = firewall(false, vec![[&l4(17)[..], &[TO_PORT, lookup]].concat()], &[]);
    let set = Set {
        is_anonymous: true,
        key_bytes: 2,
        elements: vec![
            element(1, 21_004, false, Verdict::Accept),
            element(0, 0, true, Verdict::Reject),
        ],
        ..Set::default()
    };
    firewall.sets.insert(key("m"), set);
    let found = told(firewall);
    let expected = "21005-21009, 5 ports (udp) are rejected by the firewall: chain inet filter input: `udp dport vmap \
                    { 1-21004 : accept, * : reject }`";
    assert!(found.len() == 1 && found[0].1.ends_with(expected), "{found:?}");
}

#[test]
fn matches_of_iptables_are_read() {
    let match_of = |name: &str, revision, info: Vec<u8>| Expression::Match {
        name: name.to_owned(),
        revision,
        info,
    };
    let host = |numbers: &[u16]| -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
    };
    let udp_match = match_of("udp", 0, [host(&[0, 65_535, 21_000, 21_009]), vec![0, 0]].concat());
    let tcp_match =
        match_of("tcp", 0, [host(&[0, 65_535, 21_000, 21_009]), vec![0, 0, 0, 0]].concat());
    let mut multiport = vec![1u8, 3];
    multiport.extend(host(&[53, 21_000, 21_009]));
    multiport.resize(2 + 30, 0);
    multiport.extend([0, 1, 0]);
    multiport.resize(2 + 30 + 15 + 1, 0);
    let multiport = match_of("multiport", 1, multiport);
    let conntrack = |states: u16| {
        let mut info = vec![0; 146];
        info.extend(host(&[1, 0, states, 0]));
        match_of("conntrack", 3, info)
    };
    for (conditions, accepts) in [
        (vec![udp_match.clone()], true),
        (vec![tcp_match], false),
        (vec![multiport.clone(), match_of("comment", 0, vec![])], true),
        (vec![conntrack(8), multiport.clone()], true),
        (vec![conntrack(6)], false),
    ] {
        let rule = [conditions, vec![end(Verdict::Accept)]].concat();
        let found = told(firewall(true, vec![rule.clone()], &[]));
        assert_eq!(found.is_empty(), accepts, "{rule:?}: {found:?}");
        assert!(found.iter().all(|one| one.1.contains("are dropped by")), "{found:?}");
    }
    for odd in [
        match_of("new", 0, vec![]),
        match_of("udp", 0, vec![1]),
        match_of("multiport", 1, vec![1, 15]),
    ] {
        let found = told(firewall(true, vec![vec![odd, end(Verdict::Accept)]], &[]));
        assert!(found[0].1.contains("may be dropped"), "{found:?}");
    }
}

#[test]
fn what_could_not_be_read_is_said() {
    let told = |firewall| {
        let mut problems = Problems::default();
        let forbidden = check(&[pool()], &(None, firewall), &mut problems);
        let all: Vec<Problem> = problems.sorted().into_iter().cloned().collect();
        assert!(
            all.iter().all(|one| one.code == Code::NotChecked && one.place.is_some()),
            "{all:?}"
        );
        (all.len(), forbidden)
    };
    assert_eq!(told(Err(Unread::Forbidden("why".to_owned()))), (1, true));
    assert_eq!(told(Err(Unread::Failed("why".to_owned()))), (1, false));
    assert_eq!(
        told(Ok(Firewall { legacy: vec!["filter".to_owned()], ..Firewall::default() })),
        (1, false)
    );
    assert_eq!(
        told(Ok(Firewall { is_too_large: true, ..firewall(true, vec![], &[]) })),
        (1, false)
    );
}

/// An attribute.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn elements(all: &[(u16, u32)]) -> Vec<u8> {
    let of = |(port, flags): &(u16, u32)| {
        let key = attribute(1, &attribute(1, &port.to_be_bytes()));
        attribute(1, &[key, attribute(3, &flags.to_be_bytes())].concat())
    };
    attribute(3, &all.iter().flat_map(of).collect::<Vec<u8>>())
}

#[test]
fn intervals_end_where_the_next_element_begins() {
    let table = attribute(1, b"filter\0");
    let set = [
        &table[..],
        &attribute(2, b"s\0"),
        &attribute(3, &4u32.to_be_bytes()),
        &attribute(5, &2u32.to_be_bytes()),
    ];
    let mut firewall = Firewall::decode(&[], &[], &[], &[(INET, set.concat())]);
    // As the kernel lists them, in any order: 1 is an end.
    let list =
        elements(&[(0, 1), (30_000, 0), (21_010, 1), (21_005, 0), (80, 0), (81, 1), (21_000, 0)]);
    firewall.set_elements(&key("s"), &[(INET, list)]);
    let port = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
    let found: Vec<(u16, u16)> = firewall.sets[&key("s")]
        .elements
        .iter()
        .map(|one| (port(&one.low), port(&one.high)))
        .collect();
    assert_eq!(found, [(80, 80), (21_000, 21_004), (21_005, 21_009), (30_000, 65_535)]);
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_answer(
        (messages, elements) in (prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 4), prop::collection::vec(any::<u8>(), 0..80)),
    ) {
        let table = attribute(1, b"filter\0");
        let chain = [&table[..], &attribute(3, b"input\0"), &attribute(4, &attribute(1, &1u32.to_be_bytes()))].concat();
        let names = ["payload", "meta", "ct", "cmp", "bitwise", "lookup", "immediate", "range", "match", "fib", "x"];
        let rules: Vec<(u8, Vec<u8>)> = names.iter().enumerate().map(|(at, name)| {
            let data = attribute(2, &messages[at % messages.len()]);
            let expression = attribute(1, &[attribute(1, name.as_bytes()), data].concat());
            (INET, [&table[..], &attribute(2, b"input\0"), &attribute(4, &expression)].concat())
        }).collect();
        let odd: Vec<(u8, Vec<u8>)> = messages.iter().map(|one| (IPV4, one.clone())).collect();
        let mut firewall = Firewall::decode(&odd, &[(INET, chain)], &[&rules[..], &odd].concat(), &odd);
        for key in firewall.wanted() {
            firewall.set_elements(&key, &[(INET, elements.clone())]);
        }
        let mut problems = Problems::default();
        check(&[pool()], &(None, Ok(firewall)), &mut problems);
    }
}
