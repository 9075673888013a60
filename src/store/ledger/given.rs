//! The rows that one statement is given, bound to it.
//!
//! On PostgreSQL they are bound as one array a column, so that one text, parsed and planned once, serves
//! any number of them. SQLite has no arrays. The ledger's own connection takes one row after the other, or inserts a few
//! at once, by texts that stay prepared. To a pool's each statement is a message to another thread: there rows are
//! `VALUES` lists of one of few sizes, so that few texts serve any number, and rows of NULL alone, which no statement
//! finds, fill them up.

use std::fmt::Write as _;

use rusqlite::{CachedStatement, Connection, Row};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, QueryResult, Statement, Value,
};

use super::cell::Kind::{Bytes, Flag, Number, NumberOrNull, Text, TextOrNull};
use super::cell::{Cell, transposed};
use super::change::{Change, Column, names};
use crate::store::Failure;

/// Rows that the ledger's own connection to a SQLite inserts at once, where there are as many. What finds a row is as
/// cheap for one at a time: SQLite makes a table of a list that others are looked up by.
const TOGETHER: usize = 16;
/// Most rows of one statement of a pool's SQLite: each size stays prepared, and takes memory for every value.
const PART_MOST: usize = 128;

/// What a PostgreSQL logs where not all rows could be written.
const SURPRISE: &str = "something stands in the way of this batch, which is looked through now";

/// Rows of some columns.
pub(super) struct Given<'a> {
    columns: Vec<Column>,
    /// Row after row.
    cells: Vec<Cell<'a>>,
}

impl<'a> Given<'a> {
    /// Rows of these columns.
    pub(super) fn of<const N: usize>(
        columns: [Column; N],
        rows: impl IntoIterator<Item = [Cell<'a>; N]>,
    ) -> Self {
        let rows = rows.into_iter();
        let mut cells = Vec::with_capacity(rows.size_hint().0 * N);
        rows.for_each(|row| cells.extend(row));
        Self { columns: columns.to_vec(), cells }
    }

    /// Does `change` with each of them.
    pub(super) fn write(self, change: Change) -> Writes<'a> {
        if self.cells.is_empty() {
            return Writes::default();
        }
        Writes { parts: vec![Part { given: self, change }] }
    }

    /// Runs `sql`, which finds the rows in `given`; answers what it answers.
    pub(super) async fn query(
        self,
        db: &impl ConnectionTrait,
        sql: &str,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let (mut answers, backend) = (Vec::new(), db.get_database_backend());
        for given in self.split(backend) {
            answers.append(&mut db.query_all_raw(given.statement(backend, sql)).await?);
        }
        Ok(answers)
    }

    /// Runs `sql`, which takes one row, on the ledger's own connection to a SQLite for each of them; hands what it
    /// answers to `take`.
    pub(super) fn each(
        self,
        db: &Connection,
        sql: &str,
        mut take: impl FnMut(&Row<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.cells.is_empty() {
            return Ok(());
        }
        bind(db, &self.cells, self.columns.len(), sql, |statement| {
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                take(row)?;
            }
            Ok(())
        })
    }

    fn count(&self) -> usize {
        self.cells.len() / self.columns.len()
    }

    /// What a pool's connection takes at once: of a SQLite one of few sizes.
    fn split(self, backend: DbBackend) -> Vec<Self> {
        if backend == DbBackend::Postgres && !self.cells.is_empty() {
            return vec![self];
        }
        let (mut parts, mut left) = (Vec::new(), self.count());
        let mut cells = self.cells.into_iter();
        while left > 0 {
            let rows = size(left);
            left = left.saturating_sub(rows);
            let filled = rows * self.columns.len();
            let mut cells: Vec<_> = cells.by_ref().take(filled).collect();
            cells.resize(filled, Cell::Null);
            parts.push(Self { columns: self.columns.clone(), cells });
        }
        parts
    }

    /// `sql` with the rows, behind others that have so many values.
    fn text(&self, backend: DbBackend, sql: &str, bound: usize) -> String {
        match backend {
            DbBackend::Postgres => with(&self.columns, &arrays_source(&self.columns, bound), sql),
            _ => listed(&self.columns, self.count(), sql),
        }
    }

    fn statement(self, backend: DbBackend, sql: &str) -> Statement {
        let text = self.text(backend, sql, 0);
        Statement::from_sql_and_values(backend, text, self.values(backend))
    }

    fn values(self, backend: DbBackend) -> Vec<Value> {
        match backend {
            DbBackend::Postgres => {
                transposed(self.columns.into_iter().map(|(_, kind)| kind), self.cells)
            }
            _ => self.cells.into_iter().map(Cell::into_value).collect(),
        }
    }
}

/// Rows, and what is done with each.
struct Part<'a> {
    given: Given<'a>,
    change: Change,
}

impl Part<'_> {
    fn of_many(&self, backend: DbBackend) -> String {
        self.change.of_many(backend, &self.given.columns)
    }

    /// Runs it on the ledger's own connection to a SQLite; answers how many rows it wrote.
    fn write(&self, db: &Connection) -> Result<u64, Failure> {
        let Given { columns, cells } = &self.given;
        let mut written = 0;
        let mut execute = |statement: &mut CachedStatement<'_>| {
            written += statement.raw_execute()? as u64;
            Ok(())
        };
        let mut left = &**cells;
        if self.change.inserts() {
            let together = TOGETHER * columns.len();
            let (these, rest) = left.split_at(left.len() / together * together);
            left = rest;
            if !these.is_empty() {
                let sql = listed(columns, TOGETHER, &self.of_many(DbBackend::Sqlite));
                bind(db, these, together, &sql, &mut execute)?;
            }
        }
        if !left.is_empty() {
            bind(db, left, columns.len(), &self.change.of_one(columns), &mut execute)?;
        }
        Ok(written)
    }
}

/// Runs `sql` for so many of the `cells` at a time.
fn bind(
    db: &Connection,
    cells: &[Cell<'_>],
    together: usize,
    sql: &str,
    mut run: impl FnMut(&mut CachedStatement<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut statement = db.prepare_cached(sql)?;
    for cells in cells.chunks_exact(together) {
        for (i, cell) in cells.iter().enumerate() {
            statement.raw_bind_parameter(i + 1, cell)?;
        }
        run(&mut statement)?;
    }
    Ok(())
}

/// Statements that write, one after the other.
#[derive(Default)]
pub(super) struct Writes<'a> {
    parts: Vec<Part<'a>>,
}

impl Writes<'_> {
    /// How many rows they count where nothing stands in the way of any: all that are written, and on PostgreSQL also
    /// those that have only to be found.
    pub(super) fn rows(&self, backend: DbBackend) -> u64 {
        let counted = |part: &&Part<'_>| backend == DbBackend::Postgres || part.change.writes();
        self.parts.iter().filter(counted).map(|part| part.given.count() as u64).sum()
    }

    /// And then these. On a PostgreSQL, where all are one statement, neither sees what the other writes.
    pub(super) fn and(mut self, then: Self) -> Self {
        self.parts.extend(then.parts);
        self
    }

    /// Runs them on a PostgreSQL as a transaction of their own, of which nothing is kept unless all rows were written.
    pub(super) async fn commit(self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        if !self.parts.is_empty() {
            let all = self.rows(DbBackend::Postgres);
            db.execute_raw(at_once(self.parts, Some(all))).await?;
        }
        Ok(())
    }

    /// Runs them within a transaction of a SQLite; fails unless all rows were written.
    pub(super) fn write_all(self, db: &Connection) -> Result<(), Failure> {
        let all = self.rows(DbBackend::Sqlite);
        if self.write(db)? == all { Ok(()) } else { Err(Failure::Surprise) }
    }

    /// Runs them within a transaction of a SQLite; answers how many rows all of them wrote.
    pub(super) fn write(self, db: &Connection) -> Result<u64, Failure> {
        self.parts.iter().map(|part| part.write(db)).sum()
    }

    /// Runs them; answers how many rows all of them wrote.
    pub(super) async fn execute(self, tx: &DatabaseTransaction) -> Result<u64, DbErr> {
        let backend = tx.get_database_backend();
        if backend == DbBackend::Postgres && self.parts.len() > 1 {
            let row = tx.query_one_raw(at_once(self.parts, None)).await?;
            let written = row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?;
            return Ok(written.unwrap_or_default().unsigned_abs());
        }
        let mut written = 0;
        for part in self.parts {
            let sql = part.of_many(backend);
            for given in part.given.split(backend) {
                written += tx.execute_raw(given.statement(backend, &sql)).await?.rows_affected();
            }
        }
        Ok(written)
    }
}

/// All of them as one statement of PostgreSQL, which answers how many rows they wrote, or fails unless these are `all`:
/// what few rows cost is mostly the way there and back.
fn at_once(parts: Vec<Part<'_>>, all: Option<u64>) -> Statement {
    let (mut text, mut counts, mut values) = (String::from("WITH "), Vec::new(), Vec::new());
    for (i, part) in parts.into_iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        let sql = part.of_many(DbBackend::Postgres);
        let sql = part.given.text(DbBackend::Postgres, &sql, values.len());
        let counted = if part.change.writes() { " RETURNING 1" } else { "" };
        write!(text, "{comma}w{i} AS ({sql}{counted})").expect("writing to a string does not fail");
        counts.push(format!("(SELECT count(*) FROM w{i})"));
        values.extend(part.given.values(DbBackend::Postgres));
    }
    let written = counts.join(" + ");
    if let Some(all) = all {
        // What is no number is refused, and the server's log says what it was.
        let bound = values.len() + 1;
        write!(
            text,
            " SELECT CAST(CASE {written} WHEN ${bound}::bigint THEN '1' ELSE '{SURPRISE}' END AS integer)"
        )
        .expect("writing to a string does not fail");
        values.push(i64::try_from(all).unwrap_or(i64::MAX).into());
    } else {
        text.push_str(&format!(" SELECT {written}"));
    }
    Statement::from_sql_and_values(DbBackend::Postgres, text, values)
}

/// The size of the statement that the next of `rows` go into: as many or a few more, a number of two leading binary
/// digits.
fn size(rows: usize) -> usize {
    let unit = 1 << rows.ilog2().saturating_sub(1);
    (rows.div_ceil(unit) * unit).min(PART_MOST)
}

/// `sql` behind the rows that it finds in `given`.
fn with(columns: &[Column], source: &str, sql: &str) -> String {
    format!("WITH given({}) AS ({source}) {sql}", names(columns))
}

/// `sql` with so many rows as a list.
fn listed(columns: &[Column], rows: usize, sql: &str) -> String {
    with(columns, &values_source(rows, columns.len()), sql)
}

fn values_source(rows: usize, columns: usize) -> String {
    let row = format!("({}), ", vec!["?"; columns].join(", "));
    let mut source = String::with_capacity(7 + rows * row.len());
    source.push_str("VALUES ");
    (0..rows).for_each(|_| source.push_str(&row));
    source.truncate(source.len() - 2);
    source
}

/// Arrays behind so many other values.
fn arrays_source(columns: &[Column], before: usize) -> String {
    let (mut selected, mut bound) = (String::new(), String::new());
    for (i, (name, kind)) in columns.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        let column = match kind {
            Text | Number | Flag | Bytes => format!("u.{name}"),
            TextOrNull => format!("NULLIF(u.{name}, '')"),
            NumberOrNull => format!("NULLIF(u.{name}, {})", i64::MIN),
        };
        let array = match kind {
            Text | TextOrNull => "text[]",
            Number | NumberOrNull => "bigint[]",
            Flag => "boolean[]",
            Bytes => "bytea[]",
        };
        selected.push_str(comma);
        selected.push_str(&column);
        write!(bound, "{comma}${}::{array}", before + i + 1)
            .expect("writing to a string does not fail");
    }
    format!("SELECT {selected} FROM unnest({bound}) AS u({})", names(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_sizes_of_statements_serve_any_number_of_rows() {
        let mut sizes = std::collections::BTreeSet::new();
        for rows in 1..=3000 {
            let (mut left, mut statements) = (rows, 0);
            while left > 0 {
                sizes.insert(size(left));
                left = left.saturating_sub(size(left));
                statements += 1;
            }
            assert_eq!(statements, rows.div_ceil(PART_MOST), "{rows} rows");
        }
        assert!(sizes.len() <= 14, "{sizes:?}");
    }

    #[test]
    fn what_goes_together_is_one_statement_of_postgresql() {
        let rows = |rows: usize| Given::of([("k", Text)], (0..rows).map(|_| ["a".into()]));
        let (one, other) = (Change::Insert { table: "a" }, Change::InsertNew { table: "b" });
        let both = rows(100).write(one).and(rows(300).write(other));
        assert_eq!(both.rows(DbBackend::Postgres), 400);
        let one = at_once(both.parts, None);
        assert_eq!(one.values.map(|values| values.0.len()), Some(2));
        assert_eq!(
            one.sql,
            "WITH w0 AS (WITH given(k) AS (SELECT u.k FROM unnest($1::text[]) AS u(k)) \
             INSERT INTO a (k) SELECT k FROM given WHERE k IS NOT NULL RETURNING 1), \
             w1 AS (WITH given(k) AS (SELECT u.k FROM unnest($2::text[]) AS u(k)) \
             INSERT INTO b (k) SELECT k FROM given WHERE k IS NOT NULL ON CONFLICT DO NOTHING \
             RETURNING 1) SELECT (SELECT count(*) FROM w0) + (SELECT count(*) FROM w1)"
        );
    }

    #[test]
    fn sqlite_is_given_all_rows_or_fails() {
        let db = Connection::open_in_memory().expect("memory is there");
        let made = db.execute_batch("CREATE TABLE a (k text PRIMARY KEY, at, flag, raw)");
        assert_eq!(made, Ok(()));
        let columns = [("k", Text), ("at", NumberOrNull), ("flag", Flag), ("raw", Bytes)];
        let rows = |ids: std::ops::Range<i64>| {
            let rows = ids.map(|i| {
                let at = (i % 2 == 0).then_some(i);
                let raw = if i % 3 == 0 { &b"raw"[..] } else { b"" };
                [i.to_string().into(), at.into(), (i % 3 == 0).into(), raw.into()]
            });
            Given::of(columns, rows)
        };
        let (insert, insert_new) =
            (|| Change::Insert { table: "a" }, || Change::InsertNew { table: "a" });
        let count = || db.query_row("SELECT count(*) FROM a", [], |row| row.get(0));
        for (ids, left) in [(0..0, 0), (0..1, 1), (1..17, 17), (17..52, 52)] {
            assert!(rows(ids).write(insert()).write_all(&db).is_ok());
            assert_eq!(count(), Ok(left));
        }
        let failed = rows(50..70).write(insert()).write_all(&db);
        assert!(matches!(failed, Err(failure) if failure.is_refusal()));
        let failed = rows(50..70).write(insert_new()).write_all(&db);
        assert!(matches!(failed, Err(Failure::Surprise)));
        let mut seen = Vec::new();
        let sql = "SELECT k, at, flag, raw FROM a WHERE (k, at, flag, raw) IS (?1, ?2, ?3, ?4)";
        let told = rows(30..50).each(&db, sql, |row| {
            seen.push((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            Ok(())
        });
        assert!(told.is_ok());
        let expected = (30..50_i64).map(|i| {
            let at = (i % 2 == 0).then_some(i);
            (i.to_string(), at, i % 3 == 0, if i % 3 == 0 { b"raw".to_vec() } else { vec![] })
        });
        assert_eq!(seen, expected.collect::<Vec<_>>());
    }

    #[test]
    fn rows_are_bound_as_each_database_takes_them() {
        let rows = |rows: &[(&'static str, Option<i64>)]| {
            let rows = rows.iter().map(|(id, at)| [(*id).into(), (*at).into()]);
            Given::of([("k", Text), ("at", NumberOrNull)], rows)
        };
        let texts = |rows: Given<'static>, backend| -> Vec<String> {
            let parts = rows.split(backend).into_iter();
            parts.map(|part| part.statement(backend, "SELECT 1 FROM given").sql).collect()
        };
        let three = || rows(&[("a", Some(1)), ("b", None), ("c", Some(3))]);
        assert_eq!(
            texts(three(), DbBackend::Postgres),
            ["WITH given(k, at) AS (SELECT u.k, NULLIF(u.at, -9223372036854775808) \
             FROM unnest($1::text[], $2::bigint[]) AS u(k, at)) SELECT 1 FROM given"]
        );
        assert_eq!(
            texts(three(), DbBackend::Sqlite),
            ["WITH given(k, at) AS (VALUES (?, ?), (?, ?), (?, ?)) SELECT 1 FROM given"]
        );
        let five = rows(&["a", "b", "c", "d", "e"].map(|id| (id, None)));
        let filled = five.split(DbBackend::Sqlite);
        assert_eq!((filled.len(), filled[0].cells.len()), (1, 12));
        assert_eq!(filled[0].cells[10..], [Cell::Null, Cell::Null]);
        assert_eq!(texts(rows(&[]), DbBackend::Postgres), [""; 0]);
    }
}
