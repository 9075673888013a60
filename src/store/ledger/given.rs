//! The rows that one statement is given, bound to it.
//!
//! On PostgreSQL they are bound as one array a column, so that one text, parsed and planned once, serves
//! any number of them. SQLite has no arrays: there they are a `VALUES` list of one of few sizes, so that few texts
//! serve any number; rows of NULL alone, which no statement finds, fill it up.

use std::fmt::Write as _;

use sea_orm::sea_query::ArrayType;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, QueryResult, Statement, Value, Values,
};

/// Most rows of one SQLite statement: each size stays prepared, and takes memory for every value.
const PART_MOST: usize = 128;
/// Most values of SQLite statements that go together.
const JOINED_VALUES_MOST: usize = 512;

/// What a column holds. What may be missing is bound as `''` or the least number: arrays of sea-orm
/// hold no NULL, and no row of ours holds either of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    TextOrNull,
    Number,
    NumberOrNull,
    Flag,
    Bytes,
}

use Kind::{Bytes, Flag, Number, NumberOrNull, Text, TextOrNull};

/// Rows of `N` columns.
pub(super) struct Given<const N: usize> {
    columns: [(&'static str, Kind); N],
    /// Row after row.
    values: Vec<Value>,
}

impl<const N: usize> Given<N> {
    /// No rows yet.
    pub(super) fn new(columns: [(&'static str, Kind); N]) -> Self {
        Self { columns, values: Vec::new() }
    }

    /// With these rows.
    pub(super) fn with(mut self, rows: impl IntoIterator<Item = [Value; N]>) -> Self {
        let rows = rows.into_iter();
        self.values.reserve(rows.size_hint().0 * N);
        rows.for_each(|row| self.values.extend(row));
        self
    }

    /// Inserts the rows into the columns of `table` that have their columns' names.
    pub(super) fn insert(self, backend: DbBackend, table: &str) -> Writes {
        let sql = self.insertion(table);
        self.write(backend, &sql)
    }

    /// The same but for rows that what is there stands in the way of.
    pub(super) fn insert_new(self, backend: DbBackend, table: &str) -> Writes {
        let sql = format!("{} ON CONFLICT DO NOTHING", self.insertion(table));
        self.write(backend, &sql)
    }

    /// Runs `sql`, which finds the rows in `given`.
    pub(super) fn write(self, backend: DbBackend, sql: &str) -> Writes {
        let rows = (self.values.len() / N) as u64;
        let statements = match backend {
            DbBackend::Sqlite => self.statements(backend, &without_undo(sql)),
            _ => self.statements(backend, sql),
        };
        Writes { statements, rows }
    }

    /// Runs `sql`, which finds the rows in `given`; answers what it answers.
    pub(super) async fn query(
        self,
        tx: &DatabaseTransaction,
        sql: &str,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let mut answers = Vec::new();
        for statement in self.statements(tx.get_database_backend(), sql) {
            answers.append(&mut tx.query_all_raw(statement).await?);
        }
        Ok(answers)
    }

    fn insertion(&self, table: &str) -> String {
        let (names, (first, _)) = (self.names(), self.columns[0]);
        format!("INSERT INTO {table} ({names}) SELECT {names} FROM given WHERE {first} IS NOT NULL")
    }

    fn names(&self) -> String {
        self.columns.map(|(name, _)| name).join(", ")
    }

    fn statements(self, backend: DbBackend, sql: &str) -> Vec<Statement> {
        if self.values.is_empty() {
            return Vec::new();
        }
        let names = self.names();
        if backend == DbBackend::Postgres {
            let source = arrays_source(&self.columns);
            let text = format!("WITH given({names}) AS ({source}) {sql}");
            let arrays = transposed(self.columns.map(|(_, kind)| kind), self.values);
            return vec![Statement::from_sql_and_values(backend, text, arrays)];
        }
        let (mut rows, mut values) = (self.values.len() / N, self.values.into_iter());
        let mut statements = Vec::new();
        while rows > 0 {
            let size = part(rows);
            rows = rows.saturating_sub(size);
            let mut values: Vec<Value> = values.by_ref().take(size * N).collect();
            values.resize(size * N, Value::String(None));
            let source = values_source(size, N);
            let text = format!("WITH given({names}) AS ({source}) {sql}");
            statements.push(Statement::from_sql_and_values(backend, text, values));
        }
        statements
    }
}

/// Statements that write, one after the other.
#[derive(Default)]
pub(super) struct Writes {
    statements: Vec<Statement>,
    /// Rows that they are given.
    rows: u64,
}

impl Writes {
    /// How many rows they are given: as many as they write, at the most.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// And then these.
    pub(super) fn and(mut self, then: Self) -> Self {
        self.statements.extend(then.statements);
        self.rows += then.rows;
        self
    }

    /// Runs them; answers how many rows all of them wrote.
    pub(super) async fn execute(self, tx: &DatabaseTransaction) -> Result<u64, DbErr> {
        let mut written = 0;
        for statement in joined(self.statements) {
            written += tx.execute_raw(statement).await?.rows_affected();
        }
        Ok(written)
    }
}

/// Short statements in one text where the database takes that: what few rows cost is mostly the way to the
/// thread that SQLite runs on, and back. Long ones would make a text for every pair of sizes.
fn joined(statements: Vec<Statement>) -> Vec<Statement> {
    let mut joined: Vec<Statement> = Vec::with_capacity(statements.len());
    for statement in statements {
        match joined.last_mut() {
            Some(last) if values(last) + values(&statement) <= JOINED_VALUES_MOST => {
                last.sql.push_str("; ");
                last.sql.push_str(&statement.sql);
                let values = last.values.get_or_insert_with(|| Values(Vec::new()));
                values.0.extend(statement.values.into_iter().flat_map(|values| values.0));
            }
            _ => joined.push(statement),
        }
    }
    joined
}

/// How many values are bound; without end where a statement has to stay alone.
fn values(statement: &Statement) -> usize {
    match statement.db_backend {
        DbBackend::Sqlite => statement.values.as_ref().map_or(0, |values| values.0.len()),
        _ => JOINED_VALUES_MOST + 1,
    }
}

/// The same write, which stays half done where it fails: a transaction in which something failed is dropped, and
/// SQLite need not keep copies of pages so that one statement alone can be undone.
fn without_undo(sql: &str) -> String {
    let verb = ["INSERT", "UPDATE"].into_iter().find(|verb| sql.starts_with(verb));
    verb.map_or_else(|| sql.to_owned(), |verb| sql.replacen(verb, &format!("{verb} OR FAIL"), 1))
}

/// The size of the statement that the next of `rows` go into: as many or a few more, a number of two leading binary
/// digits.
fn part(rows: usize) -> usize {
    let unit = 1 << rows.ilog2().saturating_sub(1);
    (rows.div_ceil(unit) * unit).min(PART_MOST)
}

fn values_source(rows: usize, columns: usize) -> String {
    let row = format!("({}), ", vec!["?"; columns].join(", "));
    let mut source = String::with_capacity(7 + rows * row.len());
    source.push_str("VALUES ");
    (0..rows).for_each(|_| source.push_str(&row));
    source.truncate(source.len() - 2);
    source
}

fn arrays_source(columns: &[(&str, Kind)]) -> String {
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
        write!(bound, "{comma}${}::{array}", i + 1).expect("writing to a string does not fail");
    }
    let names = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    format!("SELECT {selected} FROM unnest({bound}) AS u({names})")
}

fn transposed<const N: usize>(kinds: [Kind; N], values: Vec<Value>) -> Vec<Value> {
    let rows = values.len() / N;
    let mut arrays: [Vec<Value>; N] = std::array::from_fn(|_| Vec::with_capacity(rows));
    for (i, value) in values.into_iter().enumerate() {
        arrays[i % N].push(match (kinds[i % N], value) {
            (TextOrNull, Value::String(None)) => Value::String(Some(String::new())),
            (NumberOrNull, Value::BigInt(None)) => Value::BigInt(Some(i64::MIN)),
            (_, value) => value,
        });
    }
    let typed = arrays.into_iter().zip(kinds).map(|(array, kind)| {
        let of = match kind {
            Text | TextOrNull => ArrayType::String,
            Number | NumberOrNull => ArrayType::BigInt,
            Flag => ArrayType::Bool,
            Bytes => ArrayType::Bytes,
        };
        Value::Array(of, Some(Box::new(array)))
    });
    typed.collect()
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
                sizes.insert(part(left));
                left = left.saturating_sub(part(left));
                statements += 1;
            }
            assert_eq!(statements, rows.div_ceil(PART_MOST), "{rows} rows");
        }
        assert!(sizes.len() <= 14, "{sizes:?}");
    }

    #[test]
    fn short_statements_go_together_where_the_database_takes_that() {
        let rows =
            |rows: usize| Given::new([("k", Text)]).with((0..rows).map(|_| [Value::from("a")]));
        let texts = |backend, first: usize, second: usize| -> Vec<usize> {
            let writes =
                rows(first).insert(backend, "a").and(rows(second).insert_new(backend, "b"));
            assert_eq!(writes.rows(), (first + second) as u64);
            let bound = |s: &Statement| s.values.as_ref().map_or(0, |values| values.0.len());
            joined(writes.statements).iter().map(bound).collect()
        };
        assert_eq!(texts(DbBackend::Sqlite, 1, 1), [2]);
        assert_eq!(texts(DbBackend::Sqlite, 0, 1), [1]);
        let most = PART_MOST;
        assert_eq!(texts(DbBackend::Sqlite, most, 3 * most), [4 * most]);
        assert_eq!(texts(DbBackend::Sqlite, most, 3 * most + 1), [4 * most, 1]);
        assert_eq!(texts(DbBackend::Postgres, 1, 1), [1, 1]);
    }

    #[test]
    fn rows_are_bound_as_each_database_takes_them() {
        let rows = || {
            let row = |id: &str, at: Option<i64>| [Value::from(id), Value::from(at)];
            Given::new([("k", Text), ("at", NumberOrNull)]).with([
                row("a", Some(1)),
                row("b", None),
                row("c", Some(3)),
            ])
        };
        let postgres = rows().statements(DbBackend::Postgres, "SELECT 1 FROM given");
        assert_eq!(postgres.len(), 1);
        assert_eq!(
            postgres[0].sql,
            "WITH given(k, at) AS (SELECT u.k, NULLIF(u.at, -9223372036854775808) \
             FROM unnest($1::text[], $2::bigint[]) AS u(k, at)) SELECT 1 FROM given"
        );
        let mut filled = rows().with([[Value::from("d"), None::<i64>.into()]]);
        filled = filled.with([[Value::from("e"), None::<i64>.into()]]);
        let filled = filled.statements(DbBackend::Sqlite, "SELECT 1 FROM given");
        let bound = &filled[0].values.as_ref().expect("values").0;
        assert_eq!((filled.len(), bound.len()), (1, 12));
        assert_eq!(bound[10..], [Value::String(None), Value::String(None)]);
        let sqlite = rows().statements(DbBackend::Sqlite, "SELECT 1 FROM given");
        let texts: Vec<_> = sqlite.iter().map(|statement| statement.sql.as_str()).collect();
        assert_eq!(
            texts,
            ["WITH given(k, at) AS (VALUES (?, ?), (?, ?), (?, ?)) SELECT 1 FROM given"]
        );
    }
}
