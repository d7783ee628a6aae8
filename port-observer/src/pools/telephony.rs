//! Ranges that servers of media have in files of their own: Asterisk's `rtp.conf` and `rtpengine.conf`.

use std::sync::Arc;

use super::{
    pool::{Parity, Pool, Protocols},
    problem::{Code, Place, Problem, Problems},
    range,
};

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// `rtp.conf`
    Asterisk,
    /// `rtpengine.conf`
    Rtpengine,
}

impl Server {
    /// What the ends are called, and what they are where the file does not say (Asterisk:
    /// res_rtp_asterisk.c, `DEFAULT_RTP_START`, `DEFAULT_RTP_END`; rtpengine(8), `--port-min`,
    /// `--port-max`).
    fn ends(self) -> [(&'static str, u16); 2] {
        match self {
            Self::Asterisk => [("rtpstart", 5_000), ("rtpend", 31_000)],
            Self::Rtpengine => [("port-min", 30_000), ("port-max", 40_000)],
        }
    }

    fn section(self) -> &'static str {
        match self {
            Self::Asterisk => "general",
            Self::Rtpengine => "rtpengine",
        }
    }

    fn comment(self) -> char {
        match self {
            Self::Asterisk => ';',
            Self::Rtpengine => '#',
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Asterisk => "asterisk",
            Self::Rtpengine => "rtpengine",
        }
    }
}

/// Reads the pool of a server; what is wrong with it is a problem.
pub fn read(server: Server, file: &Arc<str>, text: &str, problems: &mut Problems) -> Option<Pool> {
    let mut ends = server.ends().map(|(name, number)| (name, number.to_string(), None));
    let mut is_in_section = false;
    for (number, line) in (1_u32..).zip(text.lines()) {
        let line = line.split(server.comment()).next().unwrap_or_default().trim();
        if let Some(section) = line.strip_prefix('[') {
            is_in_section = section.split(']').next() == Some(server.section());
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| is_in_section) else { continue };
        for (end, known, place) in &mut ends {
            if name.trim().eq_ignore_ascii_case(end) {
                // Asterisk also takes `=>`.
                value.trim_start_matches('>').trim().clone_into(known);
                *place = Some(number);
            }
        }
    }
    let [(low, min, at_low), (high, max, at_high)] = &ends;
    let place = Place { file: file.clone(), line: at_low.or(*at_high) };
    match range::parse(&format!("{min}-{max}")) {
        Ok(range) => {
            let mut pool = Pool::new(server.name(), vec![range], place);
            pool.protocols = Some(Protocols::Udp);
            pool.parity = Parity::Pair;
            pool.process = Some(server.name().to_owned());
            Some(pool)
        }
        Err(reason) => {
            let message = format!("Invalid {low} and {high} format: {min:?} and {max:?}: {reason}");
            let problem = Problem::error(Code::InvalidRange, message, place).of([server.name()]);
            let fix = format!("write {low} = MIN and {high} = MAX, integers from 1 to 65535");
            problems.push(problem.fix(fix));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(server: Server, text: &str) -> Result<(String, Option<u32>), String> {
        let mut problems = Problems::default();
        match read(server, &"x.conf".into(), text, &mut problems) {
            Some(pool) => Ok((pool.shown(), pool.place.line)),
            None => Err(problems.sorted()[0].message.clone()),
        }
    }

    #[test]
    fn the_range_is_that_of_the_servers_section_or_its_default() {
        let asterisk =
            "; RTP\n[general]\nrtpstart=10000 ; first\nrtpend => 20000\n[other]\nrtpend=1\n";
        assert_eq!(shown(Server::Asterisk, asterisk), Ok(("10000-20000".to_owned(), Some(3))));
        assert_eq!(shown(Server::Asterisk, ""), Ok(("5000-31000".to_owned(), None)));
        let rtpengine =
            "[rtpengine]\ninterface = 10.0.0.1\nport-min = 21000 # first\nport-max = 21100\n";
        assert_eq!(shown(Server::Rtpengine, rtpengine), Ok(("21000-21100".to_owned(), Some(3))));
        assert_eq!(
            shown(Server::Rtpengine, "#port-min = 5\n"),
            Ok(("30000-40000".to_owned(), None))
        );
        let wrong = shown(Server::Rtpengine, "[rtpengine]\nport-min = 50000\n").unwrap_err();
        assert!(wrong.contains("min (50000) is greater than max (40000)"), "{wrong}");
        assert!(shown(Server::Asterisk, "[general]\nrtpend = many\n").is_err());
    }
}
