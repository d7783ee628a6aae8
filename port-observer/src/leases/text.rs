//! Leases as text.

use super::{Lease, Moment, View};
use crate::{
    pools::{text::table, who_is},
    words::{escape::escape, figures},
};

/// Holders of a lease that are named.
const MOST_HOLDERS: usize = 3;

/// One lease as a sentence.
pub fn render(lease: &Lease, now: &Moment) -> String {
    let end = match lease.left(now) {
        None => "until it is given back".to_owned(),
        Some(_) => format!("for {}", end(lease, now)),
    };
    format!(
        "lease {}: {} of {} for {}, {end}",
        lease.id,
        lease.ports.told(),
        escape(&lease.pool),
        escape(&lease.owner)
    )
}

/// All as a table, then what is held without one; without the last line's end.
pub fn render_view(view: &View<'_>) -> String {
    let head = ["ID", "POOL", "PORTS", "OWNER", "ENDS IN", "HELD BY"];
    let rows: Vec<Vec<String>> = view
        .leases
        .iter()
        .map(|one| {
            let lease = one.lease;
            vec![
                lease.id.to_string(),
                escape(&lease.pool).into_owned(),
                lease.ports.brief(),
                escape(&lease.owner).into_owned(),
                end(lease, view.now),
                match &one.holders {
                    Err(reason) => format!("not known: {}", escape(reason)),
                    Ok(all) if all.is_empty() => "nobody".to_owned(),
                    Ok(all) => {
                        let who = all.iter().take(MOST_HOLDERS).map(|share| who_is(share.holder));
                        let mut who: Vec<String> = who.collect();
                        if let more @ 1.. = all.len().saturating_sub(MOST_HOLDERS) {
                            who.push(format!("{more} more"));
                        }
                        escape(&who.join(", ")).into_owned()
                    }
                },
            ]
        })
        .collect();
    let mut lines = match rows.is_empty() {
        true => vec!["no leases".to_owned()],
        false => table(&head, &rows),
    };
    for one in &view.unleased {
        let (who, protocol) = (who_is(one.share.holder), one.share.protocol.name());
        let (ports, how) = (one.share.ports.told(), one.share.how);
        let line = format!("not leased: {}: {who}: {protocol} {ports} {how}", one.pool.name);
        lines.push(escape(&line).into_owned());
    }
    lines.join("\n")
}

fn end(lease: &Lease, now: &Moment) -> String {
    lease.left(now).map_or_else(
        || "-".to_owned(),
        |left| figures::duration(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)),
    )
}
