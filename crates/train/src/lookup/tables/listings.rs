//! Listings of commands: files, processes, disks, containers.

use crate::lookup::subject::Class;
use crate::lookup::vocabulary::Vocabulary;
use crate::lookup::writer::Writer;

/// What commands print about files, processes, disks.
pub(super) fn write(w: &mut Writer<'_>) {
    match w.rng.below(4) {
        0 => files(w),
        1 => processes(w),
        2 => disks(w),
        _ => sockets(w),
    }
}

fn files(w: &mut Writer<'_>) {
    let line = format!("total {}", w.rng.below(4000)).replace('_', "");
    w.line(&line);
    while w.has_room() {
        let mode: String =
            "rwxrwxrwx".chars().map(|c| if w.chance(0.6) { c } else { '-' }).collect();
        let kind = w.pick(&["-", "-", "-", "d", "l"]).replace('l', "-");
        let (owner, group, size) =
            (w.draw(Vocabulary::word), w.draw(Vocabulary::word), w.rule("count").replace(',', ""));
        let time = format!(
            "{} {:>2} {}",
            w.rule("mon"),
            1 + w.rng.below(28),
            if w.chance(0.7) { w.rule("hh") + ":" + &w.rule("mi") } else { w.rule("year") }
        );
        let name = if kind == "d" { w.draw(Vocabulary::word) } else { w.rule("file") };
        let links = 1 + w.rng.below(9);
        w.line(&format!("{kind}{mode} {links} {owner:<8} {group:<8} {size:>8} {time} {name}"));
        w.fact_only(
            (&name, Class::Entry),
            "permissions",
            &format!("{kind}{mode}"),
            "ask_permission",
        );
        w.fact(&name, Class::Entry, "owner", &owner);
        w.fact(&name, Class::Entry, "group", &group);
        w.fact(&name, Class::Entry, "size", &size);
        w.fact(&name, Class::Entry, "modification time", &time);
    }
}

fn processes(w: &mut Writer<'_>) {
    w.line("USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND");
    while w.has_room() {
        let (user, pid) = (w.draw(Vocabulary::word), (100 + w.rng.below(60_000)).to_string());
        let (cpu, mem) = (
            format!("{}.{}", w.rng.below(90), w.rng.below(10)),
            format!("{}.{}", w.rng.below(20), w.rng.below(10)),
        );
        let (vsz, rss) = (w.rng.below(900_000), w.rng.below(90_000));
        let (tty, state) =
            (w.pick(&["?", "pts/0", "pts/3", "tty1"]), w.pick(&["S", "Ss", "R", "Sl", "I<", "Z"]));
        let start = w.rule("hh") + ":" + &w.rule("mi");
        let time = format!("{}:{}", w.rng.below(300), w.rule("mi"));
        let command = w.rule("name_service");
        w.line(&format!("{user:<10} {pid:>6} {cpu:>4} {mem:>4} {vsz:>6} {rss:>5} {tty:<8} {state:<4} {start} {time:>6} {command}"));
        w.fact_asked((&command, Class::Service), "pid", &pid, "ask_log_pid");
        w.fact(&command, Class::Service, "user", &user);
        w.fact(&command, Class::Service, "cpu", &cpu);
        w.fact(&command, Class::Service, "mem", &mem);
        w.fact(&command, Class::Service, "start", &start);
        w.fact(&command, Class::Service, "stat", state);
    }
}

fn disks(w: &mut Writer<'_>) {
    w.line("Filesystem                 Size  Used Avail Use% Mounted on");
    while w.has_room() {
        let device = format!(
            "/dev/{}{}",
            w.pick(&["sd", "nvme", "mapper/", "vd", "md"]),
            w.draw(Vocabulary::word)
        );
        let unit = w.pick(&["G", "M", "T"]);
        let (size, used) =
            (format!("{}{unit}", 10 + w.rng.below(900)), format!("{}{unit}", 1 + w.rng.below(300)));
        let (free, percent) =
            (format!("{}{unit}", 1 + w.rng.below(500)), format!("{}%", w.rng.below(100)));
        let point = format!("/{}{}", w.pick(&["", "mnt/", "srv/"]), w.draw(Vocabulary::word));
        w.line(&format!("{device:<26} {size:>4} {used:>5} {free:>5} {percent:>4} {point}"));
        for subject in [&device, &point] {
            for (key, value) in
                [("size", &size), ("used", &used), ("avail", &free), ("use percentage", &percent)]
            {
                w.fact(subject, Class::Entry, key, value);
            }
        }
        w.fact_asked((&device, Class::Entry), "mount point", &point, "ask_mount");
    }
}

fn sockets(w: &mut Writer<'_>) {
    w.line(
        "CONTAINER ID   IMAGE                      STATUS         PORTS                    NAMES",
    );
    while w.has_room() {
        let (id, image) = (w.rule("h8") + &w.rule("h4"), w.rule("image"));
        let status = format!(
            "{} {} {}",
            w.pick(&["Up", "Up", "Exited"]),
            2 + w.rng.below(40),
            w.pick(&["hours", "minutes", "days", "weeks"])
        );
        let ports = format!("{}->{}/tcp", w.rule("port"), w.rule("port"));
        let name = w.rule("name_service");
        w.line(&format!("{id}   {image:<26} {status:<14} {ports:<24} {name}"));
        w.fact(&name, Class::Service, "container id", &id);
        w.fact(&name, Class::Service, "image", &image);
        w.fact(&name, Class::Service, "status", &status);
        w.fact(&name, Class::Service, "ports", &ports);
    }
}
