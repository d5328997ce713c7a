//! Names and values: real words and invented ones, in the spellings of files.

use super::Split;
use super::words::{ATTRIBUTES, ENDINGS, FAMILY, GIVEN, PLACE, WORDS};
use tensor::Rng;

/// The words that one split may use in names.
///
/// One word in five, by a hash of its letters, is kept for held-out documents, and those use no
/// other; invented words are told apart in the same way. Attributes such as `port` and values are
/// common to both.
#[derive(Debug)]
pub(super) struct Vocabulary {
    split: Split,
    words: Vec<&'static str>,
    given: Vec<&'static str>,
    family: Vec<&'static str>,
    attributes: Vec<&'static str>,
    endings: Vec<&'static str>,
    places: [Vec<&'static str>; 2],
}

/// How the words of a name are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Snake,
    Kebab,
    Camel,
    Pascal,
    Screaming,
    Dotted,
    Spaced,
    Title,
}

impl Case {
    pub(super) const ALL: [Self; 8] = [
        Self::Snake,
        Self::Kebab,
        Self::Camel,
        Self::Pascal,
        Self::Screaming,
        Self::Dotted,
        Self::Spaced,
        Self::Title,
    ];

    /// Joins `words`, which are in lower case.
    pub(super) fn join<S: AsRef<str>>(self, words: &[S]) -> String {
        let mut out = String::new();
        for (i, word) in words.iter().enumerate() {
            let word = word.as_ref();
            let separator = match self {
                Self::Snake | Self::Screaming => "_",
                Self::Kebab => "-",
                Self::Dotted => ".",
                Self::Spaced | Self::Title => " ",
                Self::Camel | Self::Pascal => "",
            };
            if i > 0 {
                out.push_str(separator);
            }
            match self {
                Self::Screaming => out.push_str(&word.to_uppercase()),
                Self::Pascal | Self::Title => out.push_str(&capitalized(word)),
                Self::Camel if i > 0 => out.push_str(&capitalized(word)),
                _ => out.push_str(word),
            }
        }
        out
    }
}

/// `word` with its first letter in upper case.
pub(super) fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The words of a name, in lower case, whatever its spelling: `maxAge`, `MAX_AGE` and `max-age`
/// are `max age`.
pub(super) fn normalized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut after_lower = false;
    for c in name.chars() {
        if c.is_alphanumeric() {
            if after_lower && c.is_uppercase() {
                out.push(' ');
            }
            out.extend(c.to_lowercase());
            after_lower = c.is_lowercase();
        } else {
            if !out.ends_with(' ') && !out.is_empty() {
                out.push(' ');
            }
            after_lower = false;
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Whether names with this word belong to held-out documents only.
pub(super) fn is_held_out(word: &str) -> bool {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    word.bytes().fold(0xCBF2_9CE4_8422_2325, fnv) % 5 == 0
}

impl Vocabulary {
    pub(super) fn new(split: Split) -> Self {
        let mine = |word: &&str| is_held_out(word) == (split == Split::HeldOut);
        let own = |list: &'static str| list.split_whitespace().filter(mine).collect::<Vec<_>>();
        let all = |list: &'static str| list.split_whitespace().collect::<Vec<_>>();
        Self {
            split,
            words: own(WORDS),
            given: own(GIVEN),
            family: own(FAMILY),
            attributes: all(ATTRIBUTES),
            endings: all(ENDINGS),
            places: [all(PLACE.0), all(PLACE.1)],
        }
    }

    /// A word of two to four syllables that nobody knows.
    pub(super) fn invented(&self, rng: &mut Rng) -> String {
        const ONSETS: [&str; 30] = [
            "b", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kr", "l", "m",
            "n", "p", "pl", "r", "s", "sh", "st", "t", "tr", "v", "w", "z", "qu", "",
        ];
        const VOWELS: [&str; 9] = ["a", "e", "i", "o", "u", "ai", "ea", "oo", "y"];
        const CODAS: [&str; 14] =
            ["", "", "", "", "n", "r", "l", "s", "t", "m", "x", "nd", "sk", "ck"];
        loop {
            let mut word = String::new();
            for _ in 0..2 + rng.below(2) + rng.below(2) * rng.below(2) {
                for part in [&ONSETS[..], &VOWELS, &CODAS] {
                    word.push_str(rng.pick::<&str>(part));
                }
            }
            if is_held_out(&word) == (self.split == Split::HeldOut) {
                return word;
            }
        }
    }

    /// A word, real or invented.
    pub(super) fn word(&self, rng: &mut Rng) -> String {
        if rng.chance(0.6) { (*rng.pick(&self.words)).to_owned() } else { self.invented(rng) }
    }

    /// `n` words.
    pub(super) fn words(&self, rng: &mut Rng, n: usize) -> Vec<String> {
        (0..n).map(|_| self.word(rng)).collect()
    }

    /// A word that is real.
    pub(super) fn real(&self, rng: &mut Rng) -> &'static str {
        rng.pick::<&str>(&self.words)
    }

    /// A name of one to three words.
    pub(super) fn name(&self, rng: &mut Rng, case: Case) -> String {
        let n = 1 + usize::from(rng.chance(0.5)) + usize::from(rng.chance(0.15));
        let mut words = self.words(rng, n);
        if rng.chance(0.12) {
            words.push((1 + rng.below(20)).to_string());
        }
        case.join(&words)
    }

    /// What a thing may have: `port`, `max_age`, `harvest_ratio`.
    pub(super) fn attribute(&self, rng: &mut Rng, case: Case) -> String {
        let known = (*rng.pick(&self.attributes)).to_owned();
        let words: Vec<String> = match rng.below(10) {
            0..6 => known.split('_').map(str::to_owned).collect(),
            6 => [self.word(rng)].into_iter().chain(known.split('_').map(str::to_owned)).collect(),
            _ => {
                let n = 1 + rng.below(2);
                self.words(rng, n)
            }
        };
        case.join(&words)
    }

    /// A name as packages have them.
    pub(super) fn package(&self, rng: &mut Rng) -> String {
        let case = if rng.chance(0.5) { Case::Kebab } else { Case::Snake };
        let mut words = vec![self.word(rng)];
        if rng.chance(0.25) {
            words.push(self.word(rng));
        }
        if rng.chance(0.3) {
            words.push((*rng.pick(&self.endings)).to_owned());
        }
        case.join(&words)
    }

    /// A name that looks like `name` and is another one: as [`other`](Self::other), or a letter away.
    pub(super) fn near(&self, rng: &mut Rng, name: &str) -> String {
        if rng.chance(0.25) { self.misspelled(rng, name) } else { self.other(rng, name) }
    }

    /// A name that shares a part with `name` and that nobody would take for a slip of the pen.
    pub(super) fn other(&self, rng: &mut Rng, name: &str) -> String {
        let separator = name.chars().find(|c| "_-. ".contains(*c)).unwrap_or('_');
        let mut parts: Vec<String> = name.split(separator).map(str::to_owned).collect();
        let i = rng.below(parts.len());
        let digit = |c: char| c.is_ascii_digit();
        match rng.below(6) {
            0 if parts[i].chars().all(digit) => parts[i] = (1 + rng.below(40)).to_string(),
            0 => return format!("{name}{}", 2 + rng.below(9)),
            1 | 2 if parts.len() > 1 => parts[i] = self.word(rng),
            3 if parts.len() > 1 => drop(parts.remove(i)),
            4 => parts.insert(0, self.word(rng)),
            _ => parts.push((*rng.pick(&self.endings)).to_owned()),
        }
        parts.join(&separator.to_string())
    }

    /// One letter or digit changed, doubled or left out.
    fn misspelled(&self, rng: &mut Rng, name: &str) -> String {
        let mut chars: Vec<char> = name.chars().collect();
        let i = rng.below(chars.len());
        match chars[i] {
            digit @ '0'..='9' => {
                let other = (digit as u8 - b'0' + 1 + rng.below(9) as u8) % 10;
                chars[i] = char::from(b'0' + other);
            }
            letter if letter.is_ascii_alphabetic() && chars.len() > 3 => match rng.below(3) {
                0 => drop(chars.remove(i)),
                1 => chars[i] = *rng.pick(&['a', 'e', 'i', 'o', 'u', 'n', 'r', 't', 'k', 'm']),
                _ => {
                    chars.insert(i, *rng.pick(&['a', 'e', 'i', 'o', 'n', 's', 'r', 't', 'l']));
                }
            },
            _ => chars.push(*rng.pick(&['s', 'x', '2'])),
        }
        chars.into_iter().collect()
    }

    pub(super) fn person(&self, rng: &mut Rng) -> String {
        format!("{} {}", rng.pick(&self.given), rng.pick(&self.family))
    }

    pub(super) fn given_name(&self, rng: &mut Rng) -> String {
        (*rng.pick(&self.given)).to_owned()
    }

    pub(super) fn place(&self, rng: &mut Rng) -> String {
        format!("{}{}", rng.pick(&self.places[0]), rng.pick(&self.places[1]))
    }

    /// A name as machines and workers have them: `worker-7`, `db-east-2`.
    pub(super) fn machine(&self, rng: &mut Rng) -> String {
        let n = 1 + rng.below(2);
        let mut words = self.words(rng, n);
        if rng.chance(0.7) {
            words.push((1 + rng.below(40)).to_string());
        }
        Case::Kebab.join(&words)
    }

    pub(super) fn version(&self, rng: &mut Rng) -> String {
        let (major, minor, patch) =
            (rng.below(4) * rng.below(6), rng.below(25), rng.below(12) * rng.below(14));
        match rng.below(14) {
            0 => format!("{major}.{minor}"),
            1 => format!(
                "{major}.{minor}.{patch}-{}.{}",
                rng.pick(&["alpha", "beta", "rc"]),
                rng.below(9)
            ),
            2 => format!("{}.{}.{patch}", 2019 + rng.below(8), 1 + rng.below(12)),
            3 => format!("{major}.{minor}.{patch}+{}.{}", self.word(rng), rng.below(100)),
            _ => format!("{major}.{minor}.{patch}"),
        }
    }

    pub(super) fn hex(&self, rng: &mut Rng, n: usize) -> String {
        (0..n).map(|_| char::from(*rng.pick(b"0123456789abcdef"))).collect()
    }

    pub(super) fn number(&self, rng: &mut Rng) -> String {
        let digits = 1 + rng.below(4) + rng.below(3);
        let n = rng.below(10usize.pow(digits as u32));
        match rng.below(12) {
            0 => format!("{}_{:03}", 1 + n % 1000, rng.below(1000)),
            1 => format!("-{n}"),
            2 => (1usize << rng.below(21)).to_string(),
            3 => format!("{}00", 1 + n % 100),
            _ => n.to_string(),
        }
    }

    pub(super) fn float(&self, rng: &mut Rng) -> String {
        let n = rng.below(1000);
        match rng.below(4) {
            0 => format!("0.{:02}", rng.below(100)),
            1 => format!("{}.{:03}", n % 10, rng.below(1000)),
            2 => format!("{}e-{}", 1 + n % 9, 1 + rng.below(9)),
            _ => format!("{n}.{}", rng.below(100)),
        }
    }

    pub(super) fn code(&self, rng: &mut Rng) -> String {
        let letters = |rng: &mut Rng, n: usize| -> String {
            (0..n).map(|_| char::from(b'A' + rng.below(26) as u8)).collect()
        };
        let n = rng.below(10_000);
        match rng.below(5) {
            0 => format!("E{n:04}"),
            1 => format!("{}-{n}", letters(rng, 2)),
            2 => format!("{n:04}"),
            3 => format!(
                "{}{}-{}{}",
                letters(rng, 1),
                rng.below(100),
                letters(rng, 2),
                rng.below(10)
            ),
            _ => format!("{}-{:02}-{n:04}", letters(rng, 3), rng.below(100)),
        }
    }

    pub(super) fn date(&self, rng: &mut Rng) -> String {
        const MONTHS: [&str; 12] = [
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ];
        let (y, m, d) = (1960 + rng.below(70), 1 + rng.below(12), 1 + rng.below(28));
        match rng.below(8) {
            0 => format!("{d:02}/{m:02}/{y}"),
            1 => format!("{d} {} {y}", MONTHS[m - 1]),
            2 => format!("{} {d}", MONTHS[m - 1]),
            3 => format!("{d:02}.{m:02}.{y}"),
            _ => format!("{y}-{m:02}-{d:02}"),
        }
    }

    pub(super) fn time(&self, rng: &mut Rng) -> String {
        let (h, m, s) = (rng.below(24), rng.below(60), rng.below(60));
        if rng.chance(0.5) { format!("{h:02}:{m:02}") } else { format!("{h:02}:{m:02}:{s:02}") }
    }

    pub(super) fn duration(&self, rng: &mut Rng) -> String {
        let n = 1 + rng.below(120);
        let unit =
            rng.pick(&["s", "ms", "m", "h", " seconds", " minutes", " hours", " days", "d", " ms"]);
        format!("{n}{unit}")
    }

    pub(super) fn size(&self, rng: &mut Rng) -> String {
        let n = if rng.chance(0.5) { 1 << rng.below(11) } else { 1 + rng.below(900) };
        let unit =
            rng.pick(&["MB", " MB", "GB", " GB", "KiB", "MiB", " GiB", "k", "M", "Gi", "Mi", "kB"]);
        format!("{n}{unit}")
    }

    pub(super) fn path(&self, rng: &mut Rng) -> String {
        let root = rng.pick(&[
            "/etc",
            "/var/lib",
            "/opt",
            "/srv",
            "./",
            "data",
            "/usr/share",
            "src",
            "~",
            "C:\\data",
        ]);
        let mut path = root.trim_end_matches('/').to_owned();
        for _ in 0..1 + rng.below(2) {
            path.push('/');
            path.push_str(&self.word(rng));
        }
        if rng.chance(0.5) {
            path.push_str(rng.pick::<&str>(&[
                ".toml", ".log", ".db", ".yaml", ".pem", ".json", ".txt", ".sock", ".csv", ".rs",
            ]));
        }
        path
    }

    pub(super) fn host(&self, rng: &mut Rng) -> String {
        match rng.below(4) {
            0 => self.ip(rng),
            1 => self.machine(rng),
            2 => format!("{}.internal", self.machine(rng)),
            _ => format!(
                "{}.{}.{}",
                self.word(rng),
                self.word(rng),
                rng.pick(&["com", "org", "net", "io", "dev", "local"])
            ),
        }
    }

    pub(super) fn ip(&self, rng: &mut Rng) -> String {
        let first = rng.pick(&["10", "192.168", "172.16", "203.0.113"]);
        let rest = 4 - first.split('.').count();
        let rest: Vec<String> = (0..rest).map(|_| rng.below(256).to_string()).collect();
        format!("{first}.{}", rest.join("."))
    }

    pub(super) fn url(&self, rng: &mut Rng) -> String {
        let scheme = rng.pick(&["https", "http", "https", "postgres", "redis", "git"]);
        let port =
            if rng.chance(0.3) { format!(":{}", 1024 + rng.below(60_000)) } else { String::new() };
        let path = if rng.chance(0.5) { format!("/{}", self.word(rng)) } else { String::new() };
        format!("{scheme}://{}{port}{path}", self.host(rng))
    }

    pub(super) fn email(&self, rng: &mut Rng) -> String {
        let domain =
            format!("{}.{}", self.word(rng), rng.pick(&["com", "org", "net", "example", "dev"]));
        match rng.below(3) {
            0 => format!("{}@{domain}", self.word(rng)),
            1 => format!(
                "{}.{}@{domain}",
                self.given_name(rng).to_lowercase(),
                rng.pick(&self.family).to_lowercase()
            ),
            _ => format!("{}@{domain}", self.given_name(rng).to_lowercase()),
        }
    }

    /// A few words that say something.
    pub(super) fn phrase(&self, rng: &mut Rng) -> String {
        let (a, b, c) = (self.real(rng), self.word(rng), self.real(rng));
        match rng.below(5) {
            0 => format!("{a} {b}"),
            1 => format!("the {a} of the {b}"),
            2 => format!("{a} and {b}"),
            3 => format!("{b} for {a} and {c}"),
            _ => format!("{a} {b} {c}"),
        }
    }

    /// A value of any kind.
    pub(super) fn value(&self, rng: &mut Rng) -> String {
        match rng.below(24) {
            0..5 => self.number(rng),
            5..9 => self.word(rng),
            9 => self.version(rng),
            10 => self.float(rng),
            11 => self.path(rng),
            12 => self.url(rng),
            13 => self.date(rng),
            14 => self.duration(rng),
            15 => self.size(rng),
            16 => self.code(rng),
            17 => (*rng.pick(&["true", "false", "yes", "no", "on", "off", "auto", "none", "null"]))
                .to_owned(),
            18 => self.name(rng, Case::Kebab),
            19 => self.name(rng, Case::Snake),
            20 => self.phrase(rng),
            21 => self.person(rng),
            22 => {
                let n = 4 + rng.below(13);
                self.hex(rng, n)
            }
            _ => self.host(rng),
        }
    }

    /// A value that `attribute` would have, most of the time.
    pub(super) fn value_of(&self, rng: &mut Rng, attribute: &str) -> String {
        let attribute = normalized(attribute);
        let has = |words: &[&str]| attribute.split(' ').any(|word| words.contains(&word));
        if rng.chance(0.08) {
            self.value(rng)
        } else if has(&["port", "bind", "listen"]) {
            (20 + rng.below(65_000)).to_string()
        } else if has(&["version", "revision", "firmware", "release", "edition"]) {
            self.version(rng)
        } else if has(&["email", "contact"]) {
            self.email(rng)
        } else if has(&["url", "endpoint", "link", "address"]) {
            self.url(rng)
        } else if has(&["host", "socket"]) {
            self.host(rng)
        } else if has(&["path", "dir", "file", "directory", "home", "entrypoint"]) {
            self.path(rng)
        } else if has(&[
            "date", "deadline", "opened", "closed", "created", "updated", "founded", "birthday",
            "expires",
        ]) {
            self.date(rng)
        } else if has(&["started", "finished", "time", "window"]) {
            self.time(rng)
        } else if has(&["owner", "author", "maintainer", "manager", "captain", "user"]) {
            self.person(rng)
        } else if has(&["city", "location", "country", "region", "harbor"]) {
            self.place(rng)
        } else if has(&["timeout", "interval", "delay", "ttl", "latency", "keepalive", "age"])
            && rng.chance(0.6)
        {
            self.duration(rng)
        } else if has(&["memory", "size", "limit", "disk", "capacity", "bandwidth"])
            && rng.chance(0.5)
        {
            self.size(rng)
        } else if has(&["code", "pin", "serial", "badge", "invoice", "order", "ticket", "plate"]) {
            self.code(rng)
        } else if has(&["ratio", "rate", "threshold", "speed", "voltage", "cost", "price"]) {
            self.float(rng)
        } else if has(&[
            "max",
            "min",
            "workers",
            "threads",
            "retries",
            "replicas",
            "count",
            "quantity",
            "stock",
            "number",
            "population",
            "elevation",
            "weight",
            "height",
            "width",
            "shards",
            "seat",
            "gate",
            "floor",
            "limit",
            "size",
            "memory",
            "timeout",
        ]) {
            self.number(rng)
        } else if has(&["checksum", "signature", "fingerprint", "commit", "token", "secret"]) {
            let n = *rng.pick(&[7, 8, 12, 16, 32, 40]);
            self.hex(rng, n)
        } else if has(&["color", "mode", "format", "driver", "team", "department", "theme"]) {
            self.word(rng)
        } else {
            self.value(rng)
        }
    }
}
