//! Records of one kind: what rows of lists and tables are about and have.

use crate::lookup::grammar::Slots;
use crate::lookup::keys;
use crate::lookup::language::LANGUAGE;
use crate::lookup::subject::Class;
use crate::lookup::vocabulary::Case;
use crate::lookup::writer::Writer;

/// Things of one class and their attributes.
#[derive(Debug)]
pub(in crate::lookup) struct Records {
    pub(in crate::lookup) class: Class,
    /// What the name of a record is called.
    pub(in crate::lookup) id: String,
    pub(in crate::lookup) columns: Vec<Column>,
}

/// An attribute of the records.
#[derive(Debug)]
pub(in crate::lookup) struct Column {
    /// As the file spells it.
    pub(in crate::lookup) name: String,
    lexical: Option<u16>,
}

impl Records {
    /// Draws a class and `n` columns with names in `case`.
    pub(in crate::lookup) fn draw(w: &mut Writer<'_>, n: usize, case: Case) -> Self {
        let class = if w.chance(0.7) { *w.rng.pick(&Class::KNOWN) } else { Class::Entry };
        let mut columns: Vec<Column> = Vec::new();
        for id in class.some_attributes(w, n) {
            if w.chance(0.75) {
                let names = &LANGUAGE.attributes[usize::from(id)].names;
                let name = if w.chance(0.6) { names[0] } else { *w.rng.pick(names) };
                let words: Vec<&str> = name.split([' ', '-', '/']).collect();
                columns.push(Column { name: case.join(&words), lexical: Some(id) });
            }
        }
        let mut used: Vec<u64> = columns.iter().map(|c| LANGUAGE.canonical(&c.name)).collect();
        while columns.len() < n {
            let (name, _) = keys::key_value(w, case);
            let hash = LANGUAGE.canonical(&name);
            if !used.contains(&hash) && LANGUAGE.canonical("name") != hash {
                used.push(hash);
                columns.push(Column { name, lexical: None });
            }
        }
        w.rng.shuffle(&mut columns);
        let own = class.noun();
        let id = match w.rng.below(6) {
            0 if class != Class::Entry => own,
            1 => w.pick(&["id", "key", "title", "label", "item", "full name"]),
            _ => "name",
        };
        let id = case.join(&id.split(' ').collect::<Vec<_>>());
        columns.retain(|c| c.name != id);
        Self { class, id, columns }
    }

    /// The name of the next record.
    pub(in crate::lookup) fn name(&self, w: &mut Writer<'_>, last: &str) -> String {
        if !last.is_empty() && w.chance(0.06) {
            w.vocabulary.other(&mut w.rng, last)
        } else {
            self.class.name(w)
        }
    }
}

impl Column {
    /// Draws a value.
    pub(in crate::lookup) fn value(&self, w: &mut Writer<'_>) -> String {
        match self.lexical {
            Some(id) => {
                let rule = LANGUAGE.attributes[usize::from(id)].value;
                w.expand(rule, Slots::default())
            }
            None => keys::value_of(w, &self.name),
        }
    }
}
