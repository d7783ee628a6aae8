//! Calls with sound: sipp sends RTP out of a pool, and sipp echoes it.

use std::fs;

use serde_json::{Value, json};
use tests::{child::Guarded, observer::until, recording::output};

use super::{
    of_pool,
    servers::{Servers, with_servers},
};

/// Who calls: a second of G.711, again and again, until it hangs up.
const CALL: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="caller">
  <send retrans="500"><![CDATA[
    INVITE sip:echo@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    From: <sip:caller@[local_ip]:[local_port]>;tag=[call_number]
    To: <sip:echo@[remote_ip]:[remote_port]>
    Call-ID: [call_id]
    CSeq: 1 INVITE
    Contact: <sip:caller@[local_ip]:[local_port]>
    Max-Forwards: 70
    Content-Type: application/sdp
    Content-Length: [len]

    v=0
    o=- 1 1 IN IP4 [local_ip]
    s=-
    c=IN IP4 [media_ip]
    t=0 0
    m=audio [media_port] RTP/AVP 8
    a=rtpmap:8 PCMA/8000
  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="200"/>
  <send><![CDATA[
    ACK sip:echo@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    From: <sip:caller@[local_ip]:[local_port]>;tag=[call_number]
    To: <sip:echo@[remote_ip]:[remote_port]>[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 1 ACK
    Max-Forwards: 70
    Content-Length: 0
  ]]></send>
  <nop><action><exec rtp_stream="second.alaw,-1,8"/></action></nop>
  <pause milliseconds="8000"/>
  <send retrans="500"><![CDATA[
    BYE sip:echo@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    From: <sip:caller@[local_ip]:[local_port]>;tag=[call_number]
    To: <sip:echo@[remote_ip]:[remote_port]>[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 2 BYE
    Max-Forwards: 70
    Content-Length: 0
  ]]></send>
  <recv response="200"/>
</scenario>
"#;

fn sipp(servers: &Servers, sip: &str, media: &str, more: &[&str]) -> Guarded {
    let at = ["-i", "127.0.0.1", "-p", sip, "-mi", "127.0.0.1", "-mp", media, "-nostdin"];
    servers.start("sipp", &[&at, more].concat())
}

/// What waits at a UDP port of this network namespace, in bytes.
fn waiting(port: u16) -> u64 {
    let sockets = fs::read_to_string("/proc/thread-self/net/udp").expect("the kernel's list");
    let at = format!(":{port:04X} ");
    let line = sockets.lines().find(|line| line.contains(&at)).unwrap_or_default();
    let queues = line.split_ascii_whitespace().nth(4).unwrap_or_default();
    let received = queues.split_once(':').map_or("0", |(_, received)| received);
    u64::from_str_radix(received, 16).expect("a number")
}

#[test]
fn sipp_takes_its_media_ports_out_of_its_pool_and_those_of_another_are_told() {
    let declare = |inode| {
        format!(
            "[[pool]]\nname = \"phones\"\nrange = \"21000-21004\"\nprotocol = \"udp\"\nprocess = \"sipp\"\n\
             netns = \"{inode}\"\n\
             [[pool]]\nname = \"relay\"\nrange = \"22000-22009\"\nprotocol = \"udp\"\n\
             process = \"rtpengine\"\nnetns = \"{inode}\"\n"
        )
    };
    with_servers(declare, |servers| {
        fs::write(servers.directory.file("call.xml"), CALL).expect("write the scenario");
        fs::write(servers.directory.file("second.alaw"), [0xd5; 8_000]).expect("write the sound");
        let echo = sipp(servers, "5061", "21000", &["-sn", "uas", "-rtp_echo"]);
        // Its SIP port is of no pool, and is told.
        let sip = servers.wait_for("the SIP port", |kind, pool| {
            kind == "wrong_range" && pool.local.as_ref().is_some_and(|at| at.port == 5_061)
        });
        assert_eq!((sip.pool.as_str(), sip.belongs_to), ("phones", None));
        let calls = ["127.0.0.1:5061", "-sf", "call.xml", "-m", "3", "-l", "3"];
        let mut caller = sipp(servers, "5062", "21002", &calls);
        // sipp's own way: a port for sound, and the one after the next for pictures. The second is
        // refused 21002, which the first has for pictures.
        let refused = caller.0.wait().expect("wait for the caller");
        assert!(!refused.success(), "21002 is taken");
        let mut caller = sipp(servers, "5062", "21001", &calls);
        let full = servers.wait_for("four of five", |kind, pool| {
            kind == "threshold" && pool.pool == "phones" && pool.used == Some(4)
        });
        assert_eq!((full.level.as_deref(), full.free), (Some("warning"), Some(1)));
        until("the sound comes back", || waiting(21_001) > 10_000);
        let shown = output(&["pools", "show", "--json", &servers.file]);
        let shown: Value = serde_json::from_slice(&shown).expect("JSON");
        let phones = &shown[0];
        assert_eq!((&phones["used"], &phones["free"]), (&json!(4), &json!(1)), "{shown}");
        let holders = phones["holders"].as_array().expect("holders");
        for process in [&echo, &caller] {
            let pid = process.0.id();
            let holder = holders.iter().find(|one| one["process"]["pid"] == pid);
            let holder = holder.unwrap_or_else(|| panic!("{pid} is not there: {shown}"));
            assert_eq!((&holder["ports"], &holder["stranger"]), (&json!(2), &json!(false)));
        }
        let ended = caller.0.wait().expect("wait for the caller");
        assert!(ended.success(), "its calls: {ended}");
        let is_free = |lines: &[tests::lines::Line]| {
            let last = lines.iter().filter_map(of_pool).rfind(|(kind, _)| *kind == "threshold");
            last.and_then(|(_, pool)| (pool.level.as_deref() == Some("ok")).then_some(pool.used))
        };
        assert_eq!(servers.observer.wait_lines(0, is_free).expect("ok again"), Some(3));

        // Calls out of the pool of another.
        let _astray = sipp(servers, "5063", "22000", &calls);
        let taken =
            servers.wait_for("a stranger", |kind, pool| kind == "taken" && pool.pool == "relay");
        assert_eq!(taken.process.map(|process| process.name).as_deref(), Some("sipp"));
        let wrong = servers.wait_for("whose it is", |kind, pool| {
            kind == "wrong_range" && pool.belongs_to.is_some()
        });
        assert_eq!((wrong.pool.as_str(), wrong.belongs_to.as_deref()), ("phones", Some("relay")));
    });
}
