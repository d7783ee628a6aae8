//! Lines about declared pools of ports.

use std::sync::Arc;

use port_observer::{
    event::Via,
    report::{Body, Level, PoolEvent, PoolHolder, PoolReport, PoolUse, Report},
    sink::table::Screen,
};

use super::{
    json::{has_null, written},
    ledger_samples::named,
    samples::{NETNS, at, curl, port},
    table::{frame, screen},
};

fn pool(name: &str, used: u32) -> PoolUse {
    PoolUse {
        name: name.into(),
        range: "21000-21009".into(),
        netns: Some(NETNS),
        ports: 10,
        used,
        usable: 10,
        free: 10 - used,
        is_full: used == 10,
        growth_per_second: Some(0.512_345),
        seconds_to_exhaustion: (used < 10).then_some(4.006_789),
        refused: 0,
    }
}

fn told(milliseconds: u64, pool: PoolUse, event: PoolEvent) -> Report {
    at(milliseconds, Body::Pool(Box::new(PoolReport { pool, event })))
}

/// A line of each type, and what may be absent in them.
pub fn pools() -> Vec<Report> {
    let holder = |process, ports, is_stranger| PoolHolder { process, ports, is_stranger };
    let holders = vec![
        holder(Some(Arc::new(named(77, "rtp\u{1b}[2J"))), 7, Some(false)),
        holder(Some(Arc::new(curl())), 2, Some(true)),
        holder(None, 1, None),
    ];
    let asked = || port("10.0.0.2:21003", None, Some(named(77, "rtp\u{1b}[2J")));
    let nowhere = PoolUse { netns: None, ..pool("vpn", 0) };
    vec![
        told(1, pool("media", 0), PoolEvent::Threshold { level: Level::Ok }),
        told(2, nowhere, PoolEvent::Threshold { level: Level::Ok }),
        told(3, pool("media", 9), PoolEvent::Threshold { level: Level::Critical }),
        told(
            4,
            pool("media", 10),
            PoolEvent::Exhausted { port: None, refused: None, holders: Vec::new(), repeated: 0 },
        ),
        told(
            5,
            pool("media", 10),
            PoolEvent::Exhausted {
                port: Some(asked()),
                refused: Some((Via::Bind, 98)),
                holders,
                repeated: 12,
            },
        ),
        told(
            6,
            pool("media", 3),
            PoolEvent::WrongRange {
                port: port("127.0.0.1:19007", None, Some(curl())),
                via: Some(Via::Bind),
                belongs_to: Some("we\nb".into()),
                repeated: 0,
            },
        ),
        told(
            7,
            pool("media", 3),
            PoolEvent::WrongRange {
                port: port("127.0.0.1:8080", None, Some(curl())),
                via: None,
                belongs_to: None,
                repeated: 3,
            },
        ),
        told(
            8,
            pool("media", 4),
            PoolEvent::Taken {
                port: port("10.0.0.2:21007", Some("10.0.0.1:443"), Some(curl())),
                via: Some(Via::Connect),
                is_chosen: true,
                repeated: 0,
            },
        ),
        told(
            9,
            pool("media", 5),
            PoolEvent::Taken {
                port: port("10.0.0.2:21008", None, Some(curl())),
                via: Some(Via::Bind),
                is_chosen: false,
                repeated: 1,
            },
        ),
    ]
}

#[test]
fn what_happens_to_pools_looks_as_it_did_as_json() {
    let text = written(&pools());
    insta::assert_snapshot!("json_pools", text);
    for line in text.lines() {
        assert!(!has_null(&serde_json::from_str(line).unwrap()), "{line}");
    }
}

#[test]
fn and_in_a_table() {
    insta::assert_snapshot!("table_pools_80", frame(&pools(), screen(80), false));
    insta::assert_snapshot!("table_pools_file", frame(&pools(), Screen::None, false));
}
