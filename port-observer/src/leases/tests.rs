use std::collections::BTreeMap;

use proptest::prelude::{Strategy, prop, prop_oneof, proptest};

use super::*;
use crate::ports::PortRange;

fn set(ranges: &[(u16, u16)]) -> PortSet {
    ranges.iter().map(|&(min, max)| PortRange { min, max }).collect()
}

fn pool(name: &str, min: u16, max: u16) -> Pool {
    let place = Place { file: "pools.toml".into(), line: Some(1) };
    Pool {
        container: Some(name.to_owned()),
        group: Some("vpn".to_owned()),
        ..Pool::new(name, vec![PortRange { min, max }], place)
    }
}

fn at(boot: &str, boot_ms: i64, wall_ms: i64) -> Moment {
    Moment { boot: boot.to_owned(), boot_ms, wall_ms }
}

fn free(pools: &[Pool]) -> Vec<Candidate<'_>> {
    pools.iter().map(|pool| Candidate { pool, held: Ok(PortSet::default()) }).collect()
}

const REQUEST: Request<'_> = Request { owner: "o", key: None, units: 1, ttl: None };

/// What one change makes of a store, committed.
fn change<T>(store: &mut Store, now: &Moment, f: impl FnOnce(&mut Change<'_>) -> T) -> T {
    let mut change = store.begin_by(|| Ok(now.clone())).unwrap();
    let made = f(&mut change);
    change.commit().unwrap();
    made
}

fn lease(
    store: &mut Store,
    candidates: &[Candidate<'_>],
    group: Option<&str>,
    request: &Request<'_>,
) -> Result<Lease, Refusal> {
    change(store, &at("a", 0, 0), |change| change.lease(candidates, group, request).unwrap())
}

#[test]
fn a_group_gives_in_turns_as_the_seed_has_it() {
    let mut store = Store::in_memory();
    let pools = [pool("gluetun", 19_000, 19_499), pool("gluetun_2", 19_500, 19_999)];
    let mut given = || {
        let lease = lease(&mut store, &free(&pools), Some("vpn"), &REQUEST).unwrap();
        (lease.pool, lease.ports.to_string())
    };
    for (pool, port) in
        [("gluetun", "19000"), ("gluetun_2", "19500"), ("gluetun", "19001"), ("gluetun_2", "19501")]
    {
        assert_eq!(given(), (pool.to_owned(), port.to_owned()));
    }
}

#[test]
fn engines_are_listed_as_the_seed_lists_them() {
    let mut store = Store::in_memory();
    let pools = [pool("gluetun", 19_000, 19_499), pool("gluetun_2", 19_500, 19_999)];
    for (owner, of) in
        [("acestream-1", 0), ("acestream-2", 0), ("acestream-3", 1), ("acestream-4", 1)]
    {
        lease(&mut store, &free(&pools[of..=of]), None, &Request { owner, ..REQUEST }).unwrap();
    }
    let engine = |name: &str, container: &str, port: u16, forwarded: bool| {
        format!(
            "{{\"container_name\":\"{name}\",\"host\":\"{container}\",\"port\":{port},\
             \"vpn_container\":\"{container}\",\"forwarded\":{forwarded}}}"
        )
    };
    let mut expected = vec![
        engine("acestream-1", "gluetun", 19_000, true),
        engine("acestream-2", "gluetun", 19_001, false),
        engine("acestream-3", "gluetun_2", 19_500, true),
        engine("acestream-4", "gluetun_2", 19_501, false),
    ];
    let listed = |store: &mut Store| {
        let now = at("a", 0, 0);
        change(store, &now, |change| json::render_engines(change.leases()).unwrap())
    };
    assert_eq!(listed(&mut store), format!("[{}]", expected.join(",")));
    // The oldest that lives is the one.
    change(&mut store, &at("a", 0, 0), |change| change.release(1).unwrap());
    expected.remove(0);
    expected[0] = engine("acestream-2", "gluetun", 19_001, true);
    assert_eq!(listed(&mut store), format!("[{}]", expected.join(",")));
}

#[test]
fn a_pool_of_a_group_that_can_give_nothing_is_passed_over() {
    let mut store = Store::in_memory();
    let pools = [pool("a", 10, 19), pool("b", 20, 20), pool("c", 30, 39)];
    let mut candidates = free(&pools);
    candidates[0].held = Err("its container a does not run here".to_owned());
    let mut given =
        || lease(&mut store, &candidates, Some("vpn"), &REQUEST).map(|lease| lease.pool);
    for expected in ["b", "c", "c", "c"] {
        assert_eq!(given().as_deref(), Ok(expected));
    }
    candidates.truncate(2);
    let Err(Refusal(why)) = lease(&mut store, &candidates, Some("vpn"), &REQUEST) else { panic!() };
    assert_eq!(
        why,
        "No ports available in the group vpn: a: its container a does not run here; b (20-20): of 1 ports \
         1 are leased, 0 held without a lease, and 0 are left; 1 are asked for"
    );
}

#[test]
fn a_full_pool_says_so_in_the_words_of_the_seed() {
    let mut store = Store::in_memory();
    let pools = [Pool {
        ports_per_unit: 4,
        parity: crate::pools::Parity::Pair,
        ..pool("media", 21_000, 21_100)
    }];
    let candidates =
        [Candidate { pool: &pools[0], held: Ok(set(&[(21_000, 21_003), (21_005, 21_005)])) }];
    let mut count = 0;
    let why = loop {
        match lease(&mut store, &candidates, None, &REQUEST) {
            Ok(lease) => {
                assert_eq!((lease.ports.count(), lease.ports.pairs()), (4, 2));
                assert!(lease.ports.intersection(candidates[0].held.as_ref().unwrap()).is_empty());
                count += 1;
            }
            Err(Refusal(why)) => break why,
        }
    };
    // Of the 50 pairs three have a port that is held.
    assert_eq!(count, 23);
    assert!(
        why.starts_with("No ports available in range 21000-21100: of 101 ports 92 are leased"),
        "{why}"
    );
}

#[test]
fn the_same_key_gets_the_same_lease_and_no_other_request_does() {
    let mut store = Store::in_memory();
    let pools = [pool("a", 10, 19), pool("b", 20, 29)];
    let keyed = Request { key: Some("k"), ..REQUEST };
    let first = lease(&mut store, &free(&pools), Some("vpn"), &keyed).unwrap();
    assert_eq!(lease(&mut store, &free(&pools), Some("vpn"), &keyed), Ok(first.clone()));
    for other in [Request { owner: "p", ..keyed }, Request { units: 2, ..keyed }] {
        let mut change = store.begin().unwrap();
        let refusal = change.lease(&free(&pools), None, &other).unwrap().unwrap_err();
        assert!(refusal.0.contains("another request"), "{refusal:?}");
    }
    let now = at("a", 0, 0);
    change(&mut store, &now, |change| change.release(first.id).unwrap());
    let next = lease(&mut store, &free(&pools), Some("vpn"), &keyed).unwrap();
    assert!(next.id > first.id && next.pool == "b", "{next:?}");
}

#[test]
fn a_lease_ends_by_the_clock_that_is_never_set_and_after_a_reboot_by_the_other() {
    let mut store = Store::in_memory();
    let pools = [pool("a", 10, 10)];
    let hour = Request { ttl: Some(Duration::from_secs(3600)), ..REQUEST };
    let first = lease(&mut store, &free(&pools), None, &hour).unwrap();
    let mut is_free = |now: Moment| {
        let mut change = store.begin_by(|| Ok(now)).unwrap();
        change.lease(&free(&pools), None, &hour).unwrap().is_ok()
    };
    // Not committed: nothing changes.
    assert!(!is_free(at("a", 3_599_999, 0)));
    assert!(!is_free(at("a", 1, 86_400_000)), "the wall clock was set forward");
    assert!(is_free(at("a", 3_600_000, -86_400_000)), "the wall clock was set back");
    assert!(!is_free(at("b", 5, 3_599_999)) && is_free(at("b", 5, 3_600_000)), "another boot");
    let now = at("a", 3_000_000, 3_000_000);
    let renewed = change(&mut store, &now, |change| change.renew(first.id, None).unwrap());
    assert_eq!(renewed.left(&now), Some(Duration::from_secs(3600)));
    let end = renewed.end.as_ref().unwrap();
    assert_eq!(end.shown_by(&now), 6_600_000);
    assert_eq!(end.shown_by(&at("a", 3_600_001, 3_600_040)), 6_600_000, "readings are rounded");
    assert_eq!(end.shown_by(&at("a", 3_600_000, 9_000_000)), 12_000_000, "the clock was set");
    let late = at("a", 6_600_000, 0);
    let gone = change(&mut store, &late, |change| change.renew(first.id, None).unwrap_err());
    assert!(gone.to_string().contains("there is no lease 1"), "{gone}");
}

#[test]
fn ports_go_back_to_the_pool_that_they_came_from_also_when_that_has_changed() {
    let mut store = Store::in_memory();
    let before = [pool("a", 10, 11)];
    let first = lease(&mut store, &free(&before), None, &REQUEST).unwrap();
    let after = [pool("a", 11, 12), pool("b", 10, 10)];
    let second = lease(&mut store, &free(&after[..1]), None, &REQUEST).unwrap();
    assert_eq!(second.ports, set(&[(11, 11)]));
    // Another place: the same number is another port.
    let other = lease(&mut store, &free(&after[1..]), None, &REQUEST).unwrap();
    assert_eq!(other.ports, first.ports);
    let now = at("a", 0, 0);
    let back = change(&mut store, &now, |change| change.release(first.id).unwrap());
    assert_eq!((&*back.pool, &back.ports), ("a", &set(&[(10, 10)])));
    assert_eq!(lease(&mut store, &free(&before), None, &REQUEST).unwrap().ports, first.ports);
}

#[derive(Clone, Debug)]
enum Step {
    Lease { pool: usize, units: u32, ttl_s: Option<u64>, key: Option<u8> },
    Group { units: u32 },
    Release(prop::sample::Index),
    Renew(prop::sample::Index),
    Wait { seconds: i64, wall_steps: i64 },
    Reboot,
    Change { pool: usize, min: u16, length: u16 },
    Hold { pool: usize, min: u16, length: u16 },
    Dropped,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3usize, 1..4u32, prop::option::of(1..100u64), prop::option::of(0..4u8))
            .prop_map(|(pool, units, ttl_s, key)| Step::Lease { pool, units, ttl_s, key }),
        3 => (1..3u32).prop_map(|units| Step::Group { units }),
        3 => proptest::arbitrary::any::<prop::sample::Index>().prop_map(Step::Release),
        1 => proptest::arbitrary::any::<prop::sample::Index>().prop_map(Step::Renew),
        2 => (0..60i64, -1000..1000i64).prop_map(|(seconds, wall_steps)| Step::Wait { seconds, wall_steps }),
        1 => proptest::prelude::Just(Step::Reboot),
        1 => (0..3usize, 100..160u16, 0..20u16)
            .prop_map(|(pool, min, length)| Step::Change { pool, min, length }),
        1 => (0..3usize, 100..160u16, 0..4u16)
            .prop_map(|(pool, min, length)| Step::Hold { pool, min, length }),
        1 => proptest::prelude::Just(Step::Dropped),
    ]
}

proptest! {
    #[test]
    fn no_port_is_leased_twice_none_is_lost(steps in prop::collection::vec(step(), 1..60)) {
        let mut store = Store::in_memory();
        // All in one place, so that whatever they have in common is the same port.
        let one_place = |pool: Pool| Pool { container: None, ..pool };
        let mut pools: Vec<Pool> =
            [("a", 100, 119), ("b", 120, 139), ("c", 140, 159)].map(|(name, min, max)| {
                one_place(pool(name, min, max))
            }).into();
        pools[1].parity = crate::pools::Parity::Pair;
        let mut held = vec![PortSet::default(); 3];
        let mut now = at("0", 0, 0);
        let mut boots = 0;
        let mut model: BTreeMap<i64, Lease> = BTreeMap::new();
        for step in steps {
            model.retain(|_, lease| lease.is_live(&now));
            let candidates: Vec<Candidate<'_>> = pools.iter().zip(&held)
                .map(|(pool, held)| Candidate { pool, held: Ok(held.clone()) }).collect();
            let mut lease = |candidates: &[Candidate<'_>], group, request: &Request<'_>| {
                let made = change(&mut store, &now, |change| change.lease(candidates, group, request));
                // Refused for another request's key.
                let Ok(Ok(lease)) = made else { return };
                if let Some(known) = model.get(&lease.id) {
                    assert_eq!(known, &lease);
                    assert_eq!(lease.key.as_deref(), request.key);
                    return;
                }
                let from = pools.iter().zip(&held).find(|(pool, _)| pool.name == lease.pool);
                let (from, held) = from.unwrap();
                assert_eq!(lease.ports.without(&from.ports), PortSet::default());
                assert!(lease.ports.intersection(held).is_empty());
                let wanted = from.ports_of_a_unit() * u64::from(request.units);
                assert_eq!(u64::from(from.parity.usable(&lease.ports)), wanted);
                for other in model.values() {
                    assert!(other.ports.intersection(&lease.ports).is_empty(), "{other:?} {lease:?}");
                }
                model.insert(lease.id, lease);
            };
            match step {
                Step::Lease { pool, units, ttl_s, key } => {
                    let key = key.map(|key| key.to_string());
                    let ttl = ttl_s.map(Duration::from_secs);
                    let request = Request { owner: "o", key: key.as_deref(), units, ttl };
                    lease(&candidates[pool..=pool], None, &request);
                }
                Step::Group { units } => lease(&candidates, Some("vpn"), &Request { units, ..REQUEST }),
                Step::Release(index) if !model.is_empty() => {
                    let id = *model.keys().nth(index.index(model.len())).unwrap();
                    let gone = change(&mut store, &now, |change| change.release(id).unwrap());
                    assert_eq!(model.remove(&id), Some(gone));
                }
                Step::Renew(index) if !model.is_empty() => {
                    let id = *model.keys().nth(index.index(model.len())).unwrap();
                    let renewed = change(&mut store, &now, |change| change.renew(id, None).unwrap());
                    model.insert(id, renewed);
                }
                Step::Release(_) | Step::Renew(_) => {}
                Step::Wait { seconds, wall_steps } => {
                    now.boot_ms += seconds * 1000;
                    now.wall_ms += (seconds + wall_steps) * 1000;
                }
                Step::Reboot => {
                    boots += 1;
                    now = at(&boots.to_string(), 0, now.wall_ms);
                }
                Step::Change { pool: at, min, length } => {
                    let new = one_place(pool(["a", "b", "c"][at], min, min + length));
                    pools[at] = Pool { parity: pools[at].parity, ..new };
                }
                Step::Hold { pool, min, length } => held[pool] = set(&[(min, min + length)]),
                Step::Dropped => {
                    let mut change = store.begin_by(|| Ok(now.clone())).unwrap();
                    let _ = change.lease(&candidates, None, &REQUEST).unwrap();
                }
            }
            model.retain(|_, lease| lease.is_live(&now));
            let known = change(&mut store, &now, |change| change.leases().to_vec());
            assert_eq!(known, model.values().cloned().collect::<Vec<_>>());
        }
    }
}

fn lives_in(store: &Store) -> Vec<String> {
    store.live().unwrap().into_iter().map(|lease| lease.owner).collect()
}

fn lease_now(store: &mut Store, owner: &str) {
    let pools = [pool("a", 100, 199)];
    let mut change = store.begin().unwrap();
    let request = Request { owner, ..REQUEST };
    change.lease(&free(&pools), None, &request).unwrap().unwrap();
    change.commit().unwrap();
}

#[test]
fn who_opens_the_leases_to_read_waits_for_nobody_who_changes_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    lease_now(&mut store, "one");
    let change = store.begin().unwrap();
    let path = directory.path().to_owned();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let store = Store::open_existing(&path).unwrap().unwrap();
        let _ = sender.send(lives_in(&store));
    });
    // Who waits for others does so for half a minute.
    let read = receiver.recv_timeout(Duration::from_secs(10)).expect("opened and read");
    assert_eq!(read, ["one"]);
    change.commit().unwrap();
}

#[test]
fn two_that_open_a_new_file_at_the_same_time_have_the_same_leases() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Store::open(directory.path()).unwrap();
    std::thread::scope(|scope| {
        (0..8).for_each(|_| drop(scope.spawn(|| lease_now(&mut open(), "one"))));
    });
    assert_eq!(lives_in(&open()), ["one"; 8]);
}

#[test]
fn a_file_that_was_taken_away_is_made_anew_and_one_that_was_put_there_is_used() {
    let [directory, elsewhere] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut store = Store::open(directory.path()).unwrap();
    lease_now(&mut store, "one");
    store.follow().unwrap();
    assert_eq!(lives_in(&store), ["one"], "the same file");

    let file = directory.path().join("leases.db");
    std::fs::remove_file(&file).unwrap();
    store.follow().unwrap();
    lease_now(&mut store, "two");
    assert_eq!(lives_in(&Store::open(directory.path()).unwrap()), ["two"]);

    lease_now(&mut Store::open(elsewhere.path()).unwrap(), "three");
    std::fs::rename(elsewhere.path().join("leases.db"), &file).unwrap();
    assert_eq!(lives_in(&store), ["two"], "before it was looked for");
    store.follow().unwrap();
    assert_eq!(lives_in(&store), ["three"]);
}
