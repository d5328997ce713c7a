//! `fulgurite session`: conversations that are kept.

use crate::failure::Misuse;
use crate::sessions::{FileSessions, LOCAL, home};
use crate::table;
use anyhow::Context as _;
use indicatif::HumanBytes;
use jiff::Timestamp;
use server::sessions::{SessionInfo, Sessions as _, check_name};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

#[derive(clap::Subcommand)]
pub(crate) enum What {
    /// All of them, each below the one that it was forked from
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// One of them
    Show {
        /// Its name
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Keep one under a second name, to go on with either
    Fork {
        /// Its name
        name: String,
        /// The second name
        to: String,
        /// A line for people
        #[arg(long)]
        label: Option<String>,
    },
    /// Write one to a file that another machine can import
    Export {
        /// Its name
        name: String,
        /// The file
        file: PathBuf,
    },
    /// Keep one that was exported
    Import {
        /// The file
        file: PathBuf,
        /// Its name here
        name: String,
    },
    /// Forget one
    Delete {
        /// Its name
        name: String,
    },
}

pub(crate) fn run(what: &What) -> anyhow::Result<()> {
    let sessions = FileSessions::new(None);
    let mut out = std::io::stdout().lock();
    match what {
        What::List { json } => {
            let mut infos = Vec::new();
            for (name, info) in sessions.entries(LOCAL)? {
                match info {
                    Ok(info) => infos.push(info),
                    Err(error) => eprintln!("note: session `{name}` is left out: {error}"),
                }
            }
            if *json {
                let values: Vec<_> = infos.iter().map(value).collect();
                return Ok(writeln!(out, "{:#}", serde_json::Value::from(values))?);
            }
            if infos.is_empty() {
                let folder = home().join("sessions");
                eprintln!(
                    "no sessions in `{}`: `run --session NAME` and `chat --session NAME` keep one",
                    folder.display()
                );
                return Ok(());
            }
            write!(out, "{}", tree(&infos))?;
        }
        What::Show { name, json } => {
            let info = sessions.show(LOCAL, checked(name)?)?;
            if *json {
                return Ok(writeln!(out, "{:#}", value(&info))?);
            }
            let rows = [
                ("name", info.name.clone()),
                ("model", info.model.clone()),
                ("tokens", info.tokens.to_string()),
                ("messages", info.messages.to_string()),
                ("size", HumanBytes(info.bytes).to_string()),
                ("created", time(info.created)),
                ("updated", time(info.updated)),
                ("expires", info.expires.map_or("never".to_owned(), time)),
                ("parent", info.parent.clone().unwrap_or_else(|| "none".to_owned())),
                ("label", info.label.clone().unwrap_or_default()),
            ];
            for (field, value) in rows {
                writeln!(out, "{field:<9} {value}")?;
            }
        }
        What::Fork { name, to, label } => {
            sessions.fork(LOCAL, checked(name)?, checked(to)?, label.clone())?;
        }
        What::Export { name, file } => {
            let mut export = sessions.export(LOCAL, checked(name)?)?;
            tensor::atomic::atomic_write(file, |temp| {
                let mut to = std::fs::File::create(temp)?;
                std::io::copy(&mut export.reader, &mut to).map(drop)
            })
            .with_context(|| format!("cannot write `{}`", file.display()))?;
        }
        What::Import { file, name } => {
            sessions
                .import_file(LOCAL, checked(name)?, file)
                .with_context(|| format!("cannot import `{}`", file.display()))?;
        }
        What::Delete { name } => sessions.delete(LOCAL, checked(name)?)?,
    }
    Ok(())
}

/// `name`, if a session may be called that.
pub(crate) fn checked(name: &str) -> Result<&str, Misuse> {
    if check_name(name) {
        return Ok(name);
    }
    Err(Misuse(format!(
        "`{name}` is no name of a session: expected 1 to 128 letters, digits, `.`, `_` and `-`, a \
         letter or digit first"
    )))
}

fn value(info: &SessionInfo) -> serde_json::Value {
    serde_json::json!({
        "name": info.name,
        "model": info.model,
        "tokens": info.tokens,
        "messages": info.messages,
        "bytes": info.bytes,
        "created": info.created,
        "updated": info.updated,
        "expires": info.expires,
        "parent": info.parent,
        "label": info.label,
    })
}

fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|n| Timestamp::from_second(n).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

/// A table in which children stand below their parents.
fn tree(infos: &[SessionInfo]) -> String {
    let names: Vec<&str> = infos.iter().map(|info| &info.name[..]).collect();
    let mut children: BTreeMap<Option<&str>, Vec<&SessionInfo>> = BTreeMap::new();
    for info in infos {
        // A parent that is gone leaves its children at the top.
        let parent = info.parent.as_deref().filter(|name| names.contains(name));
        children.entry(parent.filter(|name| *name != info.name)).or_default().push(info);
    }
    let mut rows = Vec::new();
    let mut seen = Vec::new();
    let mut left: Vec<(usize, &SessionInfo)> =
        children.get(&None).into_iter().flatten().rev().map(|info| (0, *info)).collect();
    // Sessions that are each other's parents are found from none: they come at the end.
    let mut rest = infos.iter();
    while let Some((depth, info)) = left.pop().or_else(|| rest.next().map(|info| (0, info))) {
        if seen.contains(&&info.name[..]) {
            continue;
        }
        seen.push(&info.name);
        rows.push(vec![
            format!("{}{}", "  ".repeat(depth), info.name),
            info.messages.to_string(),
            info.tokens.to_string(),
            HumanBytes(info.bytes).to_string(),
            time(info.updated),
            info.label.clone().unwrap_or_default(),
        ]);
        let below = children.get(&Some(&info.name[..])).into_iter().flatten().rev();
        left.extend(below.map(|child| (depth + 1, *child)));
    }
    let columns = ["session", "messages", "tokens", "size", "updated", "label"];
    table::markdown(&columns, &[false, true, true, true, false, false], rows)
}

/// Whether a person is there to be asked.
pub(crate) fn interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn info(name: &str, parent: Option<&str>) -> SessionInfo {
        SessionInfo {
            name: name.to_owned(),
            tokens: 812,
            messages: 4,
            bytes: 70_000,
            created: 0,
            updated: 86_400,
            expires: None,
            parent: parent.map(str::to_owned),
            label: (name == "b").then(|| "the other way".to_owned()),
            model: "nano".to_owned(),
        }
    }

    #[test]
    fn children_stand_below_their_parents() {
        let infos = [
            info("a", None),
            info("b", Some("a")),
            info("c", Some("b")),
            info("d", Some("gone")),
            info("e", Some("f")),
            info("f", Some("e")),
        ];
        expect![[r"
            | session | messages | tokens |      size | updated              | label         |
            | ------- | -------: | -----: | --------: | -------------------- | ------------- |
            | a       |        4 |    812 | 68.36 KiB | 1970-01-02T00:00:00Z |               |
            |   b     |        4 |    812 | 68.36 KiB | 1970-01-02T00:00:00Z | the other way |
            |     c   |        4 |    812 | 68.36 KiB | 1970-01-02T00:00:00Z |               |
            | d       |        4 |    812 | 68.36 KiB | 1970-01-02T00:00:00Z |               |
            | e       |        4 |    812 | 68.36 KiB | 1970-01-02T00:00:00Z |               |
            |   f     |        4 |    812 | 68.36 KiB | 1970-01-02T00:00:00Z |               |
        "]]
        .assert_eq(&tree(&infos));
    }
}
