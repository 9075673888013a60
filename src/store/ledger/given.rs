//! The rows that one statement is given, bound to it.
//!
//! On PostgreSQL they are bound as one array a column, so that one text, parsed and planned once, serves
//! any number of them. SQLite has no arrays: there they are `VALUES` lists of one of few sizes, so that few texts
//! serve any number. The ledger's own connection takes one list after the other. To a pool's each is a message to
//! another thread: there they are long, and rows of NULL alone, which no statement finds, fill them up.

use std::fmt::Write as _;

use rusqlite::{CachedStatement, Connection, Row};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, QueryResult, Statement, Value,
};

use super::cell::Kind::{self, Bytes, Flag, Number, NumberOrNull, Text, TextOrNull};
use super::cell::{Cell, transposed};
use crate::store::Failure;

/// Rows of one statement of the ledger's own SQLite connection, where there are as many.
const TOGETHER: usize = 16;
/// Most rows of one statement of a pool's: each size stays prepared, and takes memory for every value.
const PART_MOST: usize = 128;

/// What a PostgreSQL logs where not all rows could be written.
const SURPRISE: &str = "something stands in the way of this batch, which is looked through now";

/// Rows of `N` columns.
pub(super) struct Given<'a, const N: usize> {
    columns: [(&'static str, Kind); N],
    /// Row after row.
    cells: Vec<Cell<'a>>,
}

impl<'a, const N: usize> Given<'a, N> {
    /// No rows yet.
    pub(super) fn new(columns: [(&'static str, Kind); N]) -> Self {
        Self { columns, cells: Vec::new() }
    }

    /// With these rows.
    pub(super) fn with(mut self, rows: impl IntoIterator<Item = [Cell<'a>; N]>) -> Self {
        let rows = rows.into_iter();
        self.cells.reserve(rows.size_hint().0 * N);
        rows.for_each(|row| self.cells.extend(row));
        self
    }

    /// Inserts the rows into the columns of `table` that have their columns' names.
    pub(super) fn insert(self, backend: DbBackend, table: &str) -> Writes<'a> {
        let sql = self.insertion(table);
        self.write(backend, &sql)
    }

    /// The same but for rows that what is there stands in the way of.
    pub(super) fn insert_new(self, backend: DbBackend, table: &str) -> Writes<'a> {
        let sql = format!("{} ON CONFLICT DO NOTHING", self.insertion(table));
        self.write(backend, &sql)
    }

    /// Has nothing of what it goes together with stand unless each of the rows finds something in `source`.
    pub(super) fn found(self, backend: DbBackend, source: &str) -> Writes<'a> {
        if backend == DbBackend::Postgres {
            return self.write(backend, &format!("SELECT 1 FROM given WHERE EXISTS ({source})"));
        }
        // Rows that are read are not counted there; an event without an id is refused.
        let sql = format!(
            "INSERT INTO events (id) SELECT NULL FROM given WHERE {} IS NOT NULL AND NOT EXISTS ({source})",
            self.columns[0].0
        );
        Writes { rows: 0, ..self.write(backend, &sql) }
    }

    /// Runs `sql`, which finds the rows in `given`.
    pub(super) fn write(self, backend: DbBackend, sql: &str) -> Writes<'a> {
        let part = match backend {
            DbBackend::Sqlite => self.part(&without_undo(sql)),
            _ => self.part(sql),
        };
        Writes {
            rows: part.as_ref().map_or(0, |part| part.rows as u64),
            parts: Vec::from_iter(part),
        }
    }

    /// Runs `sql`, which finds the rows in `given`; answers what it answers.
    pub(super) async fn query(
        self,
        tx: &DatabaseTransaction,
        sql: &str,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let (mut answers, backend) = (Vec::new(), tx.get_database_backend());
        for part in self.part(sql).into_iter().flat_map(|part| part.split(backend)) {
            answers.append(&mut tx.query_all_raw(part.statement(backend)).await?);
        }
        Ok(answers)
    }

    /// Runs `sql` on the ledger's own connection to a SQLite; hands each row that it answers to `take`.
    pub(super) fn each(
        self,
        db: &Connection,
        sql: &str,
        mut take: impl FnMut(&Row<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(part) = self.part(sql) else { return Ok(()) };
        part.run(db, |statement| {
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                take(row)?;
            }
            Ok(())
        })
    }

    fn insertion(&self, table: &str) -> String {
        let (names, (first, _)) = (self.names(), self.columns[0]);
        format!("INSERT INTO {table} ({names}) SELECT {names} FROM given WHERE {first} IS NOT NULL")
    }

    fn names(&self) -> String {
        names(&self.columns)
    }

    fn part(self, sql: &str) -> Option<Part<'a>> {
        let (rows, columns) = (self.cells.len() / N, self.columns.to_vec());
        (rows > 0).then(|| Part { columns, rows, sql: sql.to_owned(), cells: self.cells })
    }
}

/// What is done with rows that are bound together.
struct Part<'a> {
    columns: Vec<(&'static str, Kind)>,
    rows: usize,
    sql: String,
    cells: Vec<Cell<'a>>,
}

impl Part<'_> {
    /// Its text behind others that have so many values.
    fn text(&self, backend: DbBackend, bound: usize) -> String {
        if backend != DbBackend::Postgres {
            return self.text_of(self.rows);
        }
        let source = arrays_source(&self.columns, bound);
        format!("WITH given({}) AS ({source}) {}", names(&self.columns), self.sql)
    }

    /// The same as what a pool's connection takes at once: of a SQLite one of few sizes.
    fn split(self, backend: DbBackend) -> Vec<Self> {
        if backend == DbBackend::Postgres {
            return vec![self];
        }
        let (mut parts, mut left) = (Vec::new(), self.rows);
        let mut cells = self.cells.into_iter();
        while left > 0 {
            let rows = size(left);
            left = left.saturating_sub(rows);
            let filled = rows * self.columns.len();
            let mut cells: Vec<_> = cells.by_ref().take(filled).collect();
            cells.resize(filled, Cell::Null);
            let (columns, sql) = (self.columns.clone(), self.sql.clone());
            parts.push(Self { columns, rows, sql, cells });
        }
        parts
    }

    /// Runs it on the ledger's own connection to a SQLite, by `run`, for some of its rows at a time.
    fn run(
        &self,
        db: &Connection,
        mut run: impl FnMut(&mut CachedStatement<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut left = &*self.cells;
        for rows in [TOGETHER, 1] {
            let these = left.chunks_exact(rows * self.columns.len());
            left = these.remainder();
            if these.len() == 0 {
                continue;
            }
            let mut statement = db.prepare_cached(&self.text_of(rows))?;
            for cells in these {
                for (i, cell) in cells.iter().enumerate() {
                    statement.raw_bind_parameter(i + 1, cell)?;
                }
                run(&mut statement)?;
            }
        }
        Ok(())
    }

    /// Its text for so many rows on a SQLite.
    fn text_of(&self, rows: usize) -> String {
        let source = values_source(rows, self.columns.len());
        format!("WITH given({}) AS ({source}) {}", names(&self.columns), self.sql)
    }

    fn statement(self, backend: DbBackend) -> Statement {
        let text = self.text(backend, 0);
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

/// Statements that write, one after the other.
#[derive(Default)]
pub(super) struct Writes<'a> {
    parts: Vec<Part<'a>>,
    /// Rows that they are given.
    rows: u64,
}

impl Writes<'_> {
    /// How many rows they are given: as many as they write, at the most.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// And then these. On a PostgreSQL, where all are one statement, neither sees what the other writes.
    pub(super) fn and(mut self, then: Self) -> Self {
        self.parts.extend(then.parts);
        self.rows += then.rows;
        self
    }

    /// Runs them on a PostgreSQL as a transaction of their own, of which nothing is kept unless all rows were written.
    pub(super) async fn commit(self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        if !self.parts.is_empty() {
            db.execute_raw(at_once(self.parts, Some(self.rows))).await?;
        }
        Ok(())
    }

    /// Runs them within a transaction of a SQLite; fails unless all rows were written.
    pub(super) fn write_all(self, db: &Connection) -> Result<(), Failure> {
        let all = self.rows;
        if self.write(db)? == all { Ok(()) } else { Err(Failure::Surprise) }
    }

    /// Runs them within a transaction of a SQLite; answers how many rows all of them wrote.
    pub(super) fn write(self, db: &Connection) -> Result<u64, Failure> {
        let mut written = 0;
        for part in &self.parts {
            part.run(db, |statement| {
                written += statement.raw_execute()? as u64;
                Ok(())
            })?;
        }
        Ok(written)
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
        for part in self.parts.into_iter().flat_map(|part| part.split(backend)) {
            written += tx.execute_raw(part.statement(backend)).await?.rows_affected();
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
        let sql = part.text(DbBackend::Postgres, values.len());
        let counted = if part.sql.starts_with("SELECT") { "" } else { " RETURNING 1" };
        write!(text, "{comma}w{i} AS ({sql}{counted})").expect("writing to a string does not fail");
        counts.push(format!("(SELECT count(*) FROM w{i})"));
        values.extend(part.values(DbBackend::Postgres));
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

/// The same write, which stays half done where it fails: a transaction in which something failed is dropped, and
/// SQLite need not keep copies of pages so that one statement alone can be undone.
fn without_undo(sql: &str) -> String {
    let verb = ["INSERT", "UPDATE"].into_iter().find(|verb| sql.starts_with(verb));
    verb.map_or_else(|| sql.to_owned(), |verb| sql.replacen(verb, &format!("{verb} OR FAIL"), 1))
}

/// The size of the statement that the next of `rows` go into: as many or a few more, a number of two leading binary
/// digits.
fn size(rows: usize) -> usize {
    let unit = 1 << rows.ilog2().saturating_sub(1);
    (rows.div_ceil(unit) * unit).min(PART_MOST)
}

fn names(columns: &[(&str, Kind)]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
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
fn arrays_source(columns: &[(&str, Kind)], before: usize) -> String {
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
        let rows = |rows: usize| Given::new([("k", Text)]).with((0..rows).map(|_| ["a".into()]));
        let backend = DbBackend::Postgres;
        let both = rows(100).insert(backend, "a").and(rows(300).insert_new(backend, "b"));
        assert_eq!(both.rows(), 400);
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
            Given::new(columns).with(ids.map(|i| {
                let at = (i % 2 == 0).then_some(i);
                let raw = if i % 3 == 0 { &b"raw"[..] } else { b"" };
                [i.to_string().into(), at.into(), (i % 3 == 0).into(), raw.into()]
            }))
        };
        let backend = DbBackend::Sqlite;
        let count = || db.query_row("SELECT count(*) FROM a", [], |row| row.get(0));
        for (ids, left) in [(0..0, 0), (0..1, 1), (1..17, 17), (17..52, 52)] {
            assert!(rows(ids).insert(backend, "a").write_all(&db).is_ok());
            assert_eq!(count(), Ok(left));
        }
        let failed = rows(50..70).insert(backend, "a").write_all(&db);
        assert!(matches!(failed, Err(failure) if failure.is_refusal()));
        let failed = rows(50..70).insert_new(backend, "a").write_all(&db);
        assert!(matches!(failed, Err(Failure::Surprise)));
        let mut seen = Vec::new();
        let sql = "SELECT a.k, a.at, a.flag, a.raw FROM given JOIN a ON a.k = given.k";
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
        let rows = || {
            let row = |id: &'static str, at: Option<i64>| [id.into(), at.into()];
            Given::new([("k", Text), ("at", NumberOrNull)]).with([
                row("a", Some(1)),
                row("b", None),
                row("c", Some(3)),
            ])
        };
        let split = |rows: Given<'static, 2>, backend| -> Vec<Part<'static>> {
            let part = rows.part("SELECT 1 FROM given");
            part.into_iter().flat_map(|part| part.split(backend)).collect()
        };
        let texts = |rows: Given<'static, 2>, backend| -> Vec<String> {
            let parts = split(rows, backend);
            parts.into_iter().map(|part| part.statement(backend).sql).collect()
        };
        assert_eq!(
            texts(rows(), DbBackend::Postgres),
            ["WITH given(k, at) AS (SELECT u.k, NULLIF(u.at, -9223372036854775808) \
             FROM unnest($1::text[], $2::bigint[]) AS u(k, at)) SELECT 1 FROM given"]
        );
        let mut filled = rows().with([["d".into(), Cell::Null]]);
        filled = filled.with([["e".into(), Cell::Null]]);
        let filled = split(filled, DbBackend::Sqlite);
        assert_eq!((filled.len(), filled[0].cells.len()), (1, 12));
        assert_eq!(filled[0].cells[10..], [Cell::Null, Cell::Null]);
        assert_eq!(
            texts(rows(), DbBackend::Sqlite),
            ["WITH given(k, at) AS (VALUES (?, ?), (?, ?), (?, ?)) SELECT 1 FROM given"]
        );
    }
}
