use port_observer::doctor::Diagnosis;
use port_observer::doctor::text::{Layout, render};
use unicode_width::UnicodeWidthStr;

use super::samples::{hardened, hopeless, open, unprivileged};

fn page(diagnosis: &Diagnosis) -> String {
    released(&render(diagnosis, Layout { width: 80, color: false }))
}

/// Without this program's own version, which changes.
fn released(text: &str) -> String {
    text.replace(concat!("port-observer ", env!("CARGO_PKG_VERSION")), "port-observer VERSION")
}

#[test]
fn the_text_of_an_open_kernel() {
    insta::assert_snapshot!("open", page(&open()));
}

#[test]
fn the_text_of_a_hardened_kernel() {
    insta::assert_snapshot!("hardened", page(&hardened()));
}

#[test]
fn the_text_without_privileges() {
    insta::assert_snapshot!("unprivileged", page(&unprivileged()));
}

#[test]
fn the_text_of_a_host_on_which_nothing_works() {
    insta::assert_snapshot!("hopeless", page(&hopeless()));
}

#[test]
fn every_line_but_commands_fits_the_screen_and_none_ends_in_a_blank() {
    for width in [60, 80] {
        for diagnosis in [open(), hardened(), unprivileged(), hopeless()] {
            for line in render(&diagnosis, Layout { width, color: false }).lines() {
                assert!(line.width() <= width || line.contains("sudo "), "{line}");
                assert_eq!(line, line.trim_end());
            }
        }
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    for diagnosis in [open(), hardened(), unprivileged()] {
        let coloured = render(&diagnosis, Layout { width: 80, color: true });
        assert!(coloured.contains("\x1b["));
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_eq!(released(&plain), page(&diagnosis));
    }
}
