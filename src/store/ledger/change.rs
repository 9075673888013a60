//! What is done with rows that are given: the text of a statement that finds many of them in `given`, and of one that
//! takes a single row, bound to it. Both are written once, with `given.` before each column of theirs.

use std::fmt::Write as _;

use sea_orm::DbBackend;

use super::cell::Kind;

/// A column of rows that are given.
pub(super) type Column = (&'static str, Kind);

/// What is done with each of them.
pub(super) enum Change {
    /// It is inserted into the columns of a table that have its columns' names.
    Insert { table: &'static str },
    /// The same, unless what is there stands in its way.
    InsertNew { table: &'static str },
    /// What it finds in a table is changed.
    Update { table: &'static str, set: String, found: String },
    /// What it finds in a table by all of its columns, which are there the `keys`, is deleted where `also` holds.
    Delete { table: &'static str, keys: &'static str, also: String },
    /// Nothing of what it goes together with stands unless it finds something.
    Find { source: String },
}

impl Change {
    /// What it finds in a table by these columns is deleted.
    pub(super) fn delete(table: &'static str, keys: &'static str) -> Self {
        Self::Delete { table, keys, also: "TRUE".to_owned() }
    }

    /// For many of them.
    pub(super) fn of_many(&self, backend: DbBackend, columns: &[Column]) -> String {
        let (names, first) = (names(columns), columns[0].0);
        let or_fail = if backend == DbBackend::Sqlite { OR_FAIL } else { "" };
        match self {
            Self::Insert { table } => format!(
                "INSERT{or_fail} INTO {table} ({names}) SELECT {names} FROM given WHERE {first} IS NOT NULL"
            ),
            Self::InsertNew { table } => {
                format!(
                    "{} ON CONFLICT DO NOTHING",
                    Self::Insert { table }.of_many(backend, columns)
                )
            }
            Self::Update { table, set, found } => {
                format!("UPDATE{or_fail} {table} SET {set} FROM given WHERE {found}")
            }
            Self::Delete { table, keys, also } => {
                format!(
                    "DELETE FROM {table} WHERE ({keys}) IN (SELECT {names} FROM given) AND {also}"
                )
            }
            Self::Find { source } if backend == DbBackend::Postgres => {
                format!("SELECT 1 FROM given WHERE EXISTS ({source})")
            }
            // Rows that are read are not counted there; an event without an id is refused.
            Self::Find { source } => format!(
                "INSERT{or_fail} INTO events (id) SELECT NULL FROM given \
                 WHERE {first} IS NOT NULL AND NOT EXISTS ({source})"
            ),
        }
    }

    /// For one of them, on a SQLite.
    pub(super) fn of_one(&self, columns: &[Column]) -> String {
        match self {
            Self::Insert { table } => {
                let places = vec!["?"; columns.len()].join(", ");
                format!("INSERT{OR_FAIL} INTO {table} ({}) VALUES ({places})", names(columns))
            }
            Self::InsertNew { table } => {
                format!("{} ON CONFLICT DO NOTHING", Self::Insert { table }.of_one(columns))
            }
            Self::Update { table, set, found } => {
                bound(&format!("UPDATE{OR_FAIL} {table} SET {set} WHERE {found}"), columns)
            }
            Self::Delete { table, keys, also } => {
                let places = vec!["?"; columns.len()].join(", ");
                format!("DELETE FROM {table} WHERE ({keys}) = ({places}) AND {also}")
            }
            Self::Find { source } => bound(
                &format!(
                    "INSERT{OR_FAIL} INTO events (id) SELECT NULL WHERE NOT EXISTS ({source})"
                ),
                columns,
            ),
        }
    }

    /// Whether it inserts them.
    pub(super) fn inserts(&self) -> bool {
        matches!(self, Self::Insert { .. } | Self::InsertNew { .. })
    }

    /// Whether it writes as many rows as it is given, where nothing stands in the way of any.
    pub(super) fn writes(&self) -> bool {
        !matches!(self, Self::Find { .. })
    }
}

/// What stays half done where it fails: a transaction in which something failed is dropped, and SQLite need not keep
/// copies of pages so that one statement alone can be undone.
const OR_FAIL: &str = " OR FAIL";

/// The names of columns.
pub(super) fn names(columns: &[Column]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// With the place of each column where it was named.
fn bound(sql: &str, columns: &[Column]) -> String {
    let mut pieces = sql.split("given.");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = piece.split_at(end.unwrap_or(piece.len()));
        let place = columns.iter().position(|(column, _)| *column == name);
        let place = place.expect("a statement names columns that it is given") + 1;
        write!(text, "?{place}{rest}").expect("writing to a string does not fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::cell::Kind::{Number, Text};
    use super::*;

    #[test]
    fn one_row_is_bound_where_many_are_found() {
        let columns = [("k", Text), ("key", Number)];
        let texts = |change: Change| {
            let many = |backend| change.of_many(backend, &columns);
            (many(DbBackend::Postgres), many(DbBackend::Sqlite), change.of_one(&columns))
        };
        let of = |postgres: &str, sqlite: &str, one: &str| {
            (postgres.to_owned(), sqlite.to_owned(), one.to_owned())
        };
        assert_eq!(
            texts(Change::InsertNew { table: "a" }),
            of(
                "INSERT INTO a (k, key) SELECT k, key FROM given WHERE k IS NOT NULL ON CONFLICT DO NOTHING",
                "INSERT OR FAIL INTO a (k, key) SELECT k, key FROM given WHERE k IS NOT NULL ON CONFLICT DO NOTHING",
                "INSERT OR FAIL INTO a (k, key) VALUES (?, ?) ON CONFLICT DO NOTHING",
            )
        );
        let update = Change::Update {
            table: "a",
            set: "key = given.key, k = given.k".to_owned(),
            found: "a.k = given.k AND a.key < given.key".to_owned(),
        };
        assert_eq!(
            texts(update),
            of(
                "UPDATE a SET key = given.key, k = given.k FROM given WHERE a.k = given.k AND a.key < given.key",
                "UPDATE OR FAIL a SET key = given.key, k = given.k FROM given \
                 WHERE a.k = given.k AND a.key < given.key",
                "UPDATE OR FAIL a SET key = ?2, k = ?1 WHERE a.k = ?1 AND a.key < ?2",
            )
        );
        let delete = Change::Delete { table: "a", keys: "x, y", also: "z > 0".to_owned() };
        assert_eq!(
            texts(delete),
            of(
                "DELETE FROM a WHERE (x, y) IN (SELECT k, key FROM given) AND z > 0",
                "DELETE FROM a WHERE (x, y) IN (SELECT k, key FROM given) AND z > 0",
                "DELETE FROM a WHERE (x, y) = (?, ?) AND z > 0",
            )
        );
        let find = Change::Find { source: "SELECT 1 FROM a WHERE k = given.k".to_owned() };
        assert_eq!(
            texts(find),
            of(
                "SELECT 1 FROM given WHERE EXISTS (SELECT 1 FROM a WHERE k = given.k)",
                "INSERT OR FAIL INTO events (id) SELECT NULL FROM given \
                 WHERE k IS NOT NULL AND NOT EXISTS (SELECT 1 FROM a WHERE k = given.k)",
                "INSERT OR FAIL INTO events (id) SELECT NULL \
                 WHERE NOT EXISTS (SELECT 1 FROM a WHERE k = ?1)",
            )
        );
    }
}
