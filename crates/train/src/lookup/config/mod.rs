//! Files of servers, builds and systems in formats of their own.

mod build;
pub(super) mod ini;
mod server;
mod system;
mod xml;

use super::subject::Class;
use super::writer::Writer;

pub(super) fn write(w: &mut Writer<'_>) {
    match w.rng.below(19) {
        0..2 => server::blocks(w),
        2 => server::directives(w),
        3 => server::ssh(w),
        4 => server::terraform(w),
        5 => build::dockerfile(w),
        6 => build::makefile(w),
        7 => build::cmake(w),
        8 => build::gradle(w),
        9 => system::crontab(w),
        10 => system::hosts(w),
        11 => system::fstab(w),
        12 => system::units(w),
        13 => system::accounts(w),
        14 => system::services(w),
        _ => xml::write(w),
    }
}

fn comment(w: &mut Writer<'_>, mark: &str) {
    // What a comment says may be asked, too.
    let text = if w.chance(0.12) { super::prose::remark(w) } else { w.rule("comment") };
    w.line(&format!("{mark} {text}"));
}

/// A fact about a part, or about the file if there is no part.
fn remember(w: &mut Writer<'_>, part: &str, key: &str, value: &str) {
    if part.is_empty() {
        w.key(key, value);
    } else {
        w.fact(part, Class::Section, key, value);
    }
}
