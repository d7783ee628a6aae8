use super::{
    family::{Family, Kind, Sample, limit},
    text::{self, Format},
    *,
};
use crate::{
    event::{Endpoint, LossKind, LossPlace, Protocol, Via},
    report::{Body, PoolEvent, PoolReport, PoolUse, Port, Report, Sink as _},
};

fn family(kind: Kind, name: &'static str, labels: &[&str]) -> Family {
    let sample = |text: &&str| Sample::new(vec![("a", (*text).to_owned())], 1.0);
    Family::new(kind, name, "Help.").of(labels.iter().map(sample))
}

fn port(netns: u32) -> Port {
    let local = "10.0.0.1:4000".parse().ok();
    Port {
        netns,
        protocol: Protocol::Tcp,
        local: local.map(|at: std::net::SocketAddr| Endpoint { address: at.ip(), port: at.port() }),
        remote: None,
        caller: None,
    }
}

#[test]
fn both_formats_have_the_same_series() {
    let families = [
        family(Kind::Counter, "x_total", &["one", "t\"w\\o\n"]),
        Family::single(Kind::Gauge, "y_seconds", "Help.", f64::INFINITY),
    ];
    let plain = "\
# HELP x_total Help.
# TYPE x_total counter
x_total{a=\"one\"} 1
x_total{a=\"t\\\"w\\\\o\\n\"} 1
# HELP y_seconds Help.
# TYPE y_seconds gauge
y_seconds +Inf
";
    assert_eq!(text::write(&families, Format::Plain), plain);
    let open = text::write(&families, Format::OpenMetrics);
    let expected =
        plain.replace(" x_total Help.", " x Help.").replace(" x_total counter", " x counter");
    assert_eq!(open, format!("{expected}# EOF\n"));
}

#[test]
fn the_format_is_what_the_client_prefers() {
    let prometheus =
        "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (header, expected) in [
        (prometheus, Format::OpenMetrics),
        ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.2", Format::Plain),
        ("*/*", Format::Plain),
        ("", Format::Plain),
        ("application/openmetrics-text;q=x", Format::Plain),
    ] {
        assert_eq!(Format::accepted(header), expected, "{header}");
    }
}

#[test]
fn every_family_gets_a_part_of_the_series_and_what_goes_is_counted() {
    let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut families = vec![
        family(Kind::Counter, "large_total", &many),
        family(Kind::Gauge, "small", &["a", "b"]),
        family(Kind::Histogram, "whole", &many[..12]),
    ];
    limit(&mut families, 31);
    let count = |name: &str| {
        let found = families.iter().find(|family| family.name == name);
        found.map_or(0, |family| family.samples.len())
    };
    assert_eq!((count("large_total"), count("small"), count("whole")), (16, 2, 12));
    assert_eq!(families.last().unwrap().samples[0].value, 84.0);
    let total: usize = families.iter().map(|family| family.samples.len()).sum();
    assert_eq!(total, 31);
    limit(&mut families, 10);
    assert!(families.iter().all(|family| family.name != "whole"), "part of a histogram is none");
}

#[test]
fn series_of_the_same_labels_are_one() {
    let mut families = vec![family(Kind::Gauge, "g", &["other", "x", "other"])];
    limit(&mut families, 100);
    let values: Vec<f64> = families[0].samples.iter().map(|sample| sample.value).collect();
    assert_eq!(values, [2.0, 1.0]);
}

#[test]
fn counters_count_what_a_line_stands_for() {
    let mut counters = Counters::default();
    counters.name(7, &["blue".to_owned()]);
    let exhausted = |repeated| Body::Exhausted {
        port: port(7),
        via: Via::Connect,
        errno: 99,
        search_ns: Some(2_000),
        story: None,
        repeated,
    };
    let lost =
        Body::Lost { count: 5, place: LossPlace::Output, kind: LossKind::Acquire, caller: None };
    for body in [exhausted(0), exhausted(41), lost] {
        counters.report(&Report { time_ns: 1, body }).unwrap();
    }
    let text = text::write(&counters.families(), Format::Plain);
    for line in [
        "port_observer_exhausted_total{netns=\"blue\",protocol=\"tcp\",via=\"connect\",\
         errno=\"EADDRNOTAVAIL\",cause=\"unknown\"} 43",
        "port_observer_lost_events_total{where=\"output\"} 5",
        "port_observer_lost_events_total{where=\"queue\"} 0",
        "port_observer_refused_total{reason=\"address_not_local\"} 0",
        "port_observer_port_search_seconds_bucket{le=\"3e-06\"} 2",
        "port_observer_port_search_seconds_bucket{le=\"1e-06\"} 0",
        "port_observer_port_search_seconds_sum 0.000004",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
    }
}

#[test]
fn more_namespaces_than_are_kept_apart_are_counted_together() {
    let mut counters = Counters::default();
    for netns in 1..=10_000 {
        let body = Body::Conflict {
            port: port(netns),
            via: Via::Bind,
            errno: 98,
            holders: Vec::new(),
            repeated: 0,
        };
        counters.report(&Report { time_ns: 1, body }).unwrap();
    }
    let families = counters.families();
    let conflicts =
        families.iter().find(|one| one.name == "port_observer_conflicts_total").unwrap();
    assert!(conflicts.samples.len() <= 2049, "{}", conflicts.samples.len());
    let total: f64 = conflicts.samples.iter().map(|sample| sample.value).sum();
    assert_eq!(total, 10_000.0);
    assert_eq!(conflicts.samples[0].labels[0].1, "other");
}

/// Names of metrics in a text; those of recording rules have a colon.
fn named(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.starts_with("port_observer_")).collect()
}

fn pool_use(netns: Option<u32>) -> PoolUse {
    PoolUse {
        name: "media".into(),
        range: "21000-21009".into(),
        netns,
        ports: 10,
        used: 4,
        usable: 10,
        free: 6,
        is_full: false,
        growth_per_second: None,
        seconds_to_exhaustion: Some(12.5),
        refused: 3,
    }
}

#[test]
fn a_pool_that_is_nowhere_has_no_use_and_one_that_is_there_has_leases_too() {
    let leases = Some([("media".to_owned(), 2)].into());
    let uses = vec![pool_use(Some(7))];
    let text = text::write(&Pools { uses, leases }.families(), Format::Plain);
    for line in [
        "port_observer_pool_ports{pool=\"media\"} 10",
        "port_observer_pool_ports_used{pool=\"media\"} 4",
        "port_observer_pool_ports_free{pool=\"media\"} 6",
        "port_observer_pool_full{pool=\"media\"} 0",
        "port_observer_pool_exhaustion_seconds{pool=\"media\"} 12.5",
        "port_observer_pool_refused_total{pool=\"media\"} 3",
        "port_observer_pool_leases{pool=\"media\"} 2",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} in {text}");
    }
    let nowhere = Pools { uses: vec![pool_use(None)], leases: None };
    let text = text::write(&nowhere.families(), Format::Plain);
    assert!(text.contains("pool_ports{") && !text.contains("pool_ports_used{"), "{text}");
    assert!(!text.contains("pool_leases{"), "{text}");
}

#[test]
fn what_happens_to_pools_is_counted_from_nothing() {
    let mut counters = Counters::default();
    let pool = || {
        Body::Pool(Box::new(PoolReport {
            pool: pool_use(Some(7)),
            event: PoolEvent::Threshold { level: crate::report::Level::Ok },
        }))
    };
    let taken = |repeated| {
        Body::Pool(Box::new(PoolReport {
            pool: pool_use(Some(7)),
            event: PoolEvent::Taken { port: port(7), via: None, is_chosen: false, repeated },
        }))
    };
    counters.report(&Report { time_ns: 1, body: pool() }).unwrap();
    let text = text::write(&counters.families(), Format::Plain);
    assert!(text.contains("port_observer_pool_taken_total{pool=\"media\"} 0"), "{text}");
    for body in [taken(0), taken(9)] {
        counters.report(&Report { time_ns: 1, body }).unwrap();
    }
    let text = text::write(&counters.families(), Format::Plain);
    assert!(text.contains("port_observer_pool_taken_total{pool=\"media\"} 11"), "{text}");
    assert!(text.contains("port_observer_pool_wrong_range_total{pool=\"media\"} 0"), "{text}");
}

#[test]
fn what_rules_dashboard_and_docs_name_is_what_is_served() {
    let start = crate::report::Start {
        host: String::new(),
        kernel: String::new(),
        version: "1".into(),
        backend: "fexit",
        exact: true,
        missing: Vec::new(),
        ephemeral_range: Vec::new(),
        netns: None,
    };
    let mut served = Own::new(&start, std::time::Duration::ZERO).families();
    served.extend(Counters::default().families());
    served.extend(Gauges::default().families());
    let uses = vec![pool_use(Some(1))];
    served.extend(Pools { uses, leases: Some(std::collections::BTreeMap::new()) }.families());
    let mut names: Vec<&str> = served.iter().map(|family| family.name).collect();
    names.push("port_observer_dropped_series");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let of = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let docs = of("docs/alerts.md");
    for path in [
        "dist/prometheus/port-observer.rules.yml",
        "dist/grafana/port-observer.json",
        "docs/alerts.md",
    ] {
        let text = of(path);
        assert!(named(&text).len() > 10, "{path}");
        for name in named(&text) {
            let series =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            assert!(
                names.contains(&name) || series.is_some_and(|name| names.contains(&name)),
                "{name} in {path}"
            );
        }
    }
    for name in names.iter().filter(|name| name.starts_with("port_observer_")) {
        assert!(named(&docs).contains(name), "{name} is not documented");
    }
    let rules = of("dist/prometheus/port-observer.rules.yml");
    for link in rules.lines().filter_map(|line| line.split_once("docs/alerts.md#")) {
        let section = docs.lines().any(|line| {
            line.strip_prefix("### ").is_some_and(|title| title.to_lowercase() == link.1.trim())
        });
        assert!(section, "{} has no section", link.1);
    }
}
