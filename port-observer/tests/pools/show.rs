//! `pools show`: on this machine, as it is.

use std::net::{TcpListener, UdpSocket};

use serde_json::{Value, json};

use crate::directory::Directory;

fn pool(name: &str, range: &str, more: &str) -> String {
    format!("[[pool]]\nname = \"{name}\"\nrange = \"{range}\"\n{more}\n")
}

fn shown(pools: &[String]) -> Vec<Value> {
    let (text, code) = Directory::of(&[("pools.toml", &pools.concat())]).show(&["--json"]);
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn own_name() -> String {
    std::fs::read_to_string("/proc/self/comm").unwrap().trim().to_owned()
}

#[test]
fn holders_are_shown_and_whether_they_are_strangers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = listener.local_addr().unwrap().port();
    let range = format!("{tcp}-{tcp}");
    let own = format!("process = {:?}\nprotocol = \"tcp\"", own_name());
    let another = "process = \"another\"\nprotocol = \"tcp\"";
    for (more, stranger) in [(&*own, json!(false)), (another, json!(true)), ("", Value::Null)] {
        let [pool] = &shown(&[pool("media", &range, more)])[..] else { panic!("one pool") };
        assert_eq!(
            (&pool["used"], &pool["free"], &pool["ports"]),
            (&json!(1), &json!(0), &json!(1))
        );
        let holder = &pool["holders"][0];
        assert_eq!(holder["process"]["pid"], std::process::id());
        assert_eq!((&holder["how"], &holder["ports"]), (&json!("listening"), &json!(1)));
        assert_eq!(holder["ranges"], json!([{ "min": tcp, "max": tcp }]));
        assert_eq!(holder.get("stranger").unwrap_or(&Value::Null), &stranger);
    }
    let other_protocol = pool("media", &range, "protocol = \"udp\"");
    assert_eq!(shown(&[other_protocol])[0]["used"], 0);
}

#[test]
fn what_the_owner_of_a_pool_holds_in_another_is_shown_there() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let own = format!("process = {:?}", own_name());
    let pools = [pool("engines", "700-701", &own), pool("vpn", &format!("{port}-{port}"), "")];
    let shown = shown(&pools);
    let outside = shown[0]["outside"].as_array().unwrap();
    let in_the_other: Vec<&Value> = outside.iter().filter(|one| one["pool"] == "vpn").collect();
    assert_eq!(in_the_other.len(), 1, "{outside:?}");
    assert_eq!(in_the_other[0]["ranges"], json!([{ "min": port, "max": port }]));
    assert_eq!(in_the_other[0]["protocol"], "udp");
    let directory = Directory::of(&[("pools.toml", &pools.concat())]);
    let (text, code) = directory.show(&[]);
    assert_eq!(code, 0);
    assert!(text.contains(&format!("udp port {port} bound, which belongs to vpn")), "{text}");
}

#[test]
fn what_can_not_be_shown_is_said() {
    let [pool] = &shown(&[pool("a", "1000-1001", "netns = \"no-such-namespace\"")])[..] else {
        panic!("one pool")
    };
    assert_eq!((pool.get("used"), pool.get("free")), (None, None));
    assert!(pool["missing"][0].as_str().unwrap().contains("no-such-namespace"), "{pool}");
    let (text, code) = Directory::of(&[("pools.toml", "")]).show(&[]);
    assert_eq!(code, 1);
    assert!(text.contains("no pool is declared"), "{text}");
}
