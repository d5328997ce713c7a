//! `format` of strings as regular expressions that accept no more than the standards do.
//!
//! The library's own are wider at a few points: 29 February in each year, leap seconds at any time,
//! hyphens anywhere in the name of a host.

/// Dates of the Gregorian calendar (RFC 3339, 5.6), 29 February in leap years only.
macro_rules! date {
    () => {
        concat!(
            "(?:[0-9]{4}-(?:",
            "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])",
            "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)",
            "|02-(?:0[1-9]|1[0-9]|2[0-8]))",
            "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])",
            "|(?:0[48]|[2468][048]|[13579][26])00)-02-29)",
        )
    };
}

/// Times of a day with an offset (RFC 3339, 5.6), without leap seconds: those depend on the date.
macro_rules! time {
    () => {
        concat!(
            "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?",
            "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])",
        )
    };
}

/// A label of a host's name: 63 letters, digits and single hyphens at most, none at an end.
macro_rules! label {
    () => {
        "[A-Za-z0-9](?:-?[A-Za-z0-9]){0,31}"
    };
}

/// Up to four labels, so that a name is shorter than 253 characters, the last not a number.
macro_rules! hostname {
    () => {
        concat!("(?:", label!(), "\\.){0,2}[A-Za-z](?:-?[A-Za-z0-9]){0,31}")
    };
}

/// How a format is enforced.
pub(super) enum Format {
    /// By this pattern for the whole string.
    Pattern(&'static str),
    /// By the library.
    Library,
}

/// All formats that are enforced.
pub(super) const NAMES: &str = "`date`, `time`, `date-time`, `duration`, `email`, `hostname`, \
                                `ipv4`, `ipv6`, `uri`, `uuid`";

/// The format `name`, if it is enforced.
pub(super) fn lookup(name: &str) -> Option<Format> {
    Some(match name {
        "date" => Format::Pattern(concat!("^", date!(), "$")),
        "time" => Format::Pattern(concat!("^", time!(), "$")),
        "date-time" => Format::Pattern(concat!("^", date!(), "T", time!(), "$")),
        "hostname" => Format::Pattern(concat!("^", hostname!(), "$")),
        // RFC 5321, 4.1.2, without quoted and numeric forms.
        "email" => Format::Pattern(concat!(
            "^[A-Za-z0-9!#$%&'*+/=?_`{|}~-]{1,20}",
            "(?:\\.[A-Za-z0-9!#$%&'*+/=?_`{|}~-]{1,20}){0,2}@",
            hostname!(),
            "$"
        )),
        // RFC 3986 with an authority, which nearly all have; octets are checked by the library.
        "uri" => Format::Pattern(concat!(
            "^[A-Za-z][A-Za-z0-9+.-]{0,15}://",
            hostname!(),
            "(?::[0-9]{1,4})?(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*",
            "(?:\\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?",
            "(?:#(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?$"
        )),
        "duration" | "ipv4" | "ipv6" | "uuid" => Format::Library,
        _ => return None,
    })
}
