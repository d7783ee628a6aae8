//! Sockets with a port range of their own.

use super::{spaces::settings, *};
use crate::report::Space;

#[test]
fn a_sockets_own_range_is_a_space_of_its_own_and_the_next_story_is_told_as_it_is() {
    let mut book = Book::new();
    book.apply(settings(40000, 40009, 1, 0));
    for index in 0..7u16 {
        let socket = SocketId(u64::from(index) + 1);
        book.tell(socket, to_web(40000 + index), acquire(Via::Connect, Some(task("curl"))));
    }
    let mut exhausted = |low, high| {
        let own_range = crate::ports::OwnRange::of_bits(u64::from(low) | u64::from(high) << 16);
        let kind = Kind::Exhausted {
            via: Via::Connect,
            errno: 99,
            search_ns: None,
            own_range,
            task: None,
            repeated: Repeated::default(),
        };
        let event = SocketEvent { time_ns: 99, socket: OTHER, flow: to_web(0), kind };
        let mut out = Vec::new();
        book.ledger.apply(99, Event::Socket(event), None, &mut out);
        let Body::Exhausted { story: Some(story), .. } = &out[0].body else { panic!("{out:?}") };
        let Space { own_range, used, headroom, capacity, .. } = story.space;
        let own = own_range.map(|range| (range.min, range.max));
        let held = story.holders.iter().map(|holder| holder.counts.established).sum::<u32>();
        (own, used, headroom, capacity, held, story.cause.is_some())
    };
    assert_eq!(exhausted(40000u16, 40003u16), (Some((40000, 40003)), 4, 0, 4, 4, true));
    // At the same moment: nothing of one is told of another.
    assert_eq!(exhausted(40004, 0), (Some((40004, 40009)), 3, 3, 6, 3, false));
    assert_eq!(exhausted(0, 0), (None, 7, 3, 10, 7, false));
    // An end outside of the range counts for nothing.
    assert_eq!(exhausted(1, 65535), (None, 7, 3, 10, 7, false));
    assert_eq!(exhausted(1, 40003), (Some((40000, 40003)), 4, 0, 4, 4, true));
}
