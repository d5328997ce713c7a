//! Files of systems: crontab, hosts, fstab, units.

use super::comment;
use crate::lookup::keys::new_key;
use crate::lookup::subject::Class;
use crate::lookup::vocabulary::{Case, Vocabulary};
use crate::lookup::writer::Writer;

pub(super) fn crontab(w: &mut Writer<'_>) {
    if w.chance(0.5) {
        let mail = w.rule("email");
        w.line(&format!("SHELL=/bin/sh\nMAILTO={mail}\n"));
        w.key("mailto", &mail);
    }
    while w.has_room() {
        let user = if w.chance(0.4) { Some(w.draw(Vocabulary::word)) } else { None };
        let (time, script) =
            (w.rule("cron"), format!("{}/{}.sh", w.rule("dir"), w.draw(Vocabulary::word)));
        if w.chance(0.25) {
            comment(w, "#");
        }
        match user {
            Some(user) => {
                w.line(&format!("{time} {user} {script}"));
                w.fact(&script, Class::Entry, "user", &user);
            }
            None => w.line(&format!("{time} {script}")),
        }
        w.fact_asked((&script, Class::Entry), "schedule", &time, "ask_cron");
    }
}

pub(super) fn hosts(w: &mut Writer<'_>) {
    if w.chance(0.7) {
        w.line("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost");
        w.known("localhost", "ip", "127.0.0.1");
    }
    let gap = w.pick(&["\t", "  ", "    ", " "]);
    while w.has_room() {
        if w.chance(0.15) {
            comment(w, "#");
        }
        let (ip, name) = (
            w.rule("ip"),
            if w.chance(0.5) { w.draw(Vocabulary::machine) } else { w.rule("domain") },
        );
        let alias = if w.chance(0.3) { Some(w.draw(Vocabulary::word)) } else { None };
        w.line(&format!(
            "{ip}{gap}{name}{}",
            alias.as_ref().map_or(String::new(), |alias| format!(" {alias}"))
        ));
        let reverse = if alias.is_some() { "" } else { "rev_hosts" };
        w.put(&name, Class::Machine, "ip", &ip, "ask_hosts", reverse, false);
        if let Some(alias) = alias {
            w.fact_asked((&alias, Class::Machine), "ip", &ip, "ask_hosts");
            w.fact(&name, Class::Machine, "alias", &alias);
        }
    }
}

pub(super) fn fstab(w: &mut Writer<'_>) {
    w.line("# <file system> <mount point> <type> <options> <dump> <pass>");
    while w.has_room() {
        if w.chance(0.15) {
            comment(w, "#");
        }
        let device = match w.rng.below(4) {
            0 => format!("UUID={}", w.rule("uuid")),
            1 => format!("{}:/{}", w.draw(Vocabulary::machine), w.draw(Vocabulary::word)),
            2 => format!("LABEL={}", w.draw(Vocabulary::word)),
            _ => format!(
                "/dev/{}{}",
                w.pick(&["sda", "sdb", "nvme0n1p", "vd", "mapper/vg-"]),
                w.rule("small")
            ),
        };
        let point =
            format!("/{}{}", w.pick(&["", "mnt/", "srv/", "var/"]), w.draw(Vocabulary::word));
        let kind = w.pick(&["ext4", "xfs", "nfs", "btrfs", "vfat", "tmpfs", "cifs"]);
        let options = w.pick(&[
            "defaults",
            "ro",
            "noatime",
            "rw,user",
            "defaults,nofail",
            "noauto",
            "errors=remount-ro",
        ]);
        let gap = w.pick(&[" ", "\t", "  "]);
        w.line(&format!("{device}{gap}{point}{gap}{kind}{gap}{options}{gap}0 2"));
        w.fact_asked((&device, Class::Entry), "mount point", &point, "ask_mount");
        w.fact(&device, Class::Entry, "options", options);
        w.fact(&point, Class::Entry, "type", kind);
        w.fact(&point, Class::Entry, "options", options);
        w.fact(&point, Class::Entry, "device", &device);
    }
}

/// Units of a service manager, with their file names.
pub(super) fn units(w: &mut Writer<'_>) {
    while w.has_room() {
        let name = w.draw(|v, rng| v.name(rng, Case::Kebab));
        let about = w.rule("quoted");
        w.line(&format!("# {name}.service\n[Unit]\nDescription={about}"));
        w.fact(&name, Class::Service, "description", &about);
        for (part, keys) in [
            ("", &[("After", "word1"), ("Requires", "word1")][..]),
            (
                "[Service]",
                &[
                    ("Type", "mode"),
                    ("User", "word1"),
                    ("ExecStart", "command"),
                    ("Restart", "restart"),
                    ("RestartSec", "duration"),
                    ("WorkingDirectory", "path"),
                    ("MemoryMax", "size"),
                    ("LimitNOFILE", "port"),
                    ("EnvironmentFile", "path"),
                    ("TimeoutStopSec", "duration"),
                ],
            ),
            ("[Install]", &[("WantedBy", "word1")]),
        ] {
            if !part.is_empty() {
                w.line(&format!("\n{part}"));
            }
            for (key, rule) in keys {
                if w.chance(0.5) {
                    let value = w.rule(rule);
                    w.line(&format!("{key}={value}"));
                    w.fact(&name, Class::Service, key, &value);
                }
            }
            if part == "[Service]" && w.chance(0.4) {
                let (key, value) = new_key(w, Case::Screaming, &mut Vec::new());
                let value = value.replace('"', "");
                w.line(&format!("Environment=\"{key}={value}\""));
                w.fact(&name, Class::Section, &key, &value);
            }
        }
        w.line("");
    }
}

/// Accounts, fields between colons.
pub(super) fn accounts(w: &mut Writer<'_>) {
    while w.has_room() {
        let (user, id) = (w.draw(Vocabulary::word), (1 + w.rng.below(9000)).to_string());
        let (name, group) = (w.draw(Vocabulary::person), w.rng.below(9000));
        let (home, shell) =
            (format!("/{}/{user}", w.pick(&["home", "var/lib", "srv"])), w.rule("shell"));
        w.line(&format!("{user}:x:{id}:{group}:{name}:{home}:{shell}"));
        w.fact_only((&user, Class::Entry), "uid", &id, "ask_passwd_uid");
        w.fact_only((&user, Class::Entry), "home", &home, "ask_passwd_home");
        w.fact_only((&user, Class::Entry), "shell", &shell, "ask_passwd_shell");
        w.fact(&user, Class::Entry, "full name", &name);
        w.fact(&name, Class::Person, "username", &user);
    }
}

/// Names of services and their ports.
pub(super) fn services(w: &mut Writer<'_>) {
    let gap = w.pick(&["\t", "\t\t", "    "]);
    while w.has_room() {
        let (name, port) = (w.draw(|v, rng| v.name(rng, Case::Kebab)), w.rule("port"));
        let protocol = w.pick(&["tcp", "udp"]);
        let note =
            if w.chance(0.4) { format!("{gap}# {}", w.rule("comment")) } else { String::new() };
        w.line(&format!("{name}{gap}{port}/{protocol}{note}"));
        w.put(&name, Class::Service, "port", &port, "ask_services", "", true);
        w.fact(&name, Class::Service, "protocol", protocol);
    }
}
